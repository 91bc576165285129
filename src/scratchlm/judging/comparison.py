"""Comparisons of scores, pair by pair: of two models, of two judges, and of two revisions of the project."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from scratchlm.assistant.instructions import Variant
from scratchlm.errors import InputError, OutputError
from scratchlm.files.revisions import files_of, open_project
from scratchlm.files.text import one_line, shorten
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import Mean, means_of

RESPONSES = "data/responses.json"
VERDICTS = "data/verdicts.json"
ENTRY_KEYS = ("id", "instruction", "input", "output")
ROW_KEYS = ("id", "variant", "judge", "score")
SEED = 123  # of the bootstrap, the same for all revisions
TUNED: tuple[Variant, ...] = ("assistant", "preferred")  # what two revisions are compared by
IDENTITY = ("model", "model_digest", "prompt")  # what makes two judges of one name the same, beside their options
NAME_COLUMNS = 30
ERROR_CHARS = 200

Sign = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """One judge's scores of two models, over the entries where both have one."""

    judge: str
    variant: Variant  # the second's
    first: Mean
    second: Mean
    difference: Mean  # second - first, paired
    wins: int  # of the second
    ties: int
    losses: int
    n: int
    n_left_out: int  # entries without a score in one of the two

    @property
    def sign(self) -> Sign:
        """What the difference's interval says of the second; "undecided" where it holds 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        return "better" if low > 0 else "worse"

    def as_metrics(self) -> dict[str, Any]:
        """The difference's figures under the names that they have in metrics."""
        counts = {"wins": self.wins, "ties": self.ties, "losses": self.losses, "n": self.n}
        return self.difference.as_metrics() | counts


def compare_scores(
    judge: str, variant: Variant, scores: Mapping[Any, float | None], others: Mapping[Any, float | None], seed: int
) -> Comparison:
    """Compare two models by their scores, which are by entry."""
    pairs = _paired(scores, others)
    difference = pairs[:, 1] - pairs[:, 0]
    means = means_of([pairs[:, 0], pairs[:, 1], difference], seed)
    return Comparison(
        judge=judge,
        variant=variant,
        first=means[0],
        second=means[1],
        difference=means[2],
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
        n=len(pairs),
        n_left_out=len({*scores, *others}) - len(pairs),
    )


def agreement(rows: Sequence[Row], other_rows: Sequence[Row]) -> dict[str, float | int | None]:
    """Rank correlation and mean absolute difference of two judges' scores, over the rows that both scored.

    `spearman` is None where fewer than two such rows exist or where a judge gave all of them the same score;
    `mean_absolute_difference` is in points of 100. Rows are paired by `id` and `variant`.
    """
    scores, others = ({(row["id"], row["variant"]): row["score"] for row in part} for part in (rows, other_rows))
    pairs = _paired(scores, others)
    return {
        "spearman": spearman(pairs[:, 0], pairs[:, 1]),
        "mean_absolute_difference": float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()) if len(pairs) else None,
        "n": len(pairs),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two arrays of shape (n,), ties sharing their mean rank; None if undefined.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 40.0, 30.0]))
    0.5
    """
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return None
    return float(pd.Series(first).rank().corr(pd.Series(second).rank()))


def _paired(scores: Mapping[Any, float | None], others: Mapping[Any, float | None]) -> np.ndarray:
    """The scores of what both scored, (n, 2)."""
    pairs = [(score, others.get(key)) for key, score in scores.items()]
    return np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True)
class Judged:
    """What one revision holds: its entries (data/responses.json) and their verdicts (data/verdicts.json)."""

    revision: str  # as the user named it
    entries: Sequence[Mapping[str, Any]]
    rows: Sequence[Row]  # from before the options were kept, without them


def read_judged(revisions: Sequence[str], folder: Path) -> list[Judged]:
    """Read what Git revisions, DVC experiments or the workspace hold, in the project that `folder` is part of.

    Nothing is checked out; the files come from DVC's cache, or from its remote if they are not there.
    Raises InputError for a folder that is no project, an unknown revision, and one without verdicts.
    """
    with open_project(folder) as repo:
        return [read_revision(repo, revision) for revision in revisions]


def read_revision(repo: Any, revision: str) -> Judged:
    """Read what one revision of an open project holds; raise InputError as `read_judged` does."""
    with files_of(repo, revision) as files:
        entries = _read_list(files, RESPONSES, ENTRY_KEYS, revision)
        rows = _read_list(files, VERDICTS, ROW_KEYS, revision)
    return Judged(revision, entries, rows)


def _read_list(files: Any, path: str, keys: Sequence[str], revision: str) -> Any:
    try:
        found = json.loads(files.read_text(f"/{path}", encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"{revision} has no {path}, or neither DVC's cache nor its remote holds it (`dvc pull` gets what it holds)"
        ) from None
    except ValueError as error:
        raise OutputError(f"{path} of {revision} is not valid JSON ({one_line(error, ERROR_CHARS)})") from None
    if not isinstance(found, list) or not all(isinstance(item, dict) and item.keys() >= set(keys) for item in found):
        raise OutputError(f"{path} of {revision} is no list of objects with {', '.join(keys)}")
    return found


def compare(first: Judged, second: Judged) -> list[Comparison]:
    """Compare the assistants of two revisions, by each judge that scored both, in the second's order.

    Then those tuned on preferences, unless one of the revisions has none; see `uncompared`. Raises InputError, naming
    what differs, if the entries are not the same, if no judge scored both, or if a judge of one name is not the same in
    both.
    """
    _require_same_entries(first, second)
    others, judges = _judges(first), _judges(second)
    shared = [judge for judge in judges if judge in others]
    if not shared:
        raise InputError(
            f"{first.revision} was judged by {', '.join(others) or 'nobody'}, {second.revision} by "
            f"{', '.join(judges) or 'nobody'}: scores of different judges cannot be compared, have both judged by the "
            "same judge.judges"
        )
    for judge in shared:
        _require_same_judge(first, second, judge)
    found = [
        compare_scores(judge, variant, _scores(first, judge, variant), _scores(second, judge, variant), SEED)
        for variant in TUNED
        if _has(first, variant) and _has(second, variant)
        for judge in shared
    ]
    for comparison in found:
        if not comparison.n:
            raise InputError(f"{comparison.judge} gave no entry a score in both: see the reasons in {VERDICTS}")
    return found


def uncompared(first: Judged, second: Judged) -> list[str]:
    """Say, a line each, which models only one of two revisions has."""
    return [
        f"{variant}: only {shorten((first if _has(first, variant) else second).revision, NAME_COLUMNS)} has scores"
        for variant in TUNED
        if _has(first, variant) != _has(second, variant)
    ]


def _has(judged: Judged, variant: Variant) -> bool:
    return any(row["variant"] == variant for row in judged.rows)


def _judges(judged: Judged) -> list[str]:
    return list(dict.fromkeys(row["judge"] for row in judged.rows))


def _require_same_entries(first: Judged, second: Judged) -> None:
    tasks, others = (
        {entry["id"]: tuple(entry[key] for key in ENTRY_KEYS) for entry in judged.entries} for judged in (first, second)
    )
    if len(tasks) != len(others):
        what = f"{len(tasks)} and {len(others)} entries"
    elif differing := [key for key in tasks if others.get(key) != tasks[key]]:
        what = f"{len(differing)} of {len(tasks)} entries differ, the first one is entry {differing[0]}"
    else:
        return
    raise InputError(
        f"{first.revision} and {second.revision} answered different instructions ({what}): only answers to the same "
        "ones can be paired, so build both with the same `instructions` and data"
    )


def _require_same_judge(first: Judged, second: Judged, judge: str) -> None:
    settings, others = (_settings(judged, judge) for judged in (first, second))
    # Rows from before the options were kept have none, and are compared without them.
    have_options = min(len(settings), len(others)) > len(IDENTITY)
    for name in {**settings, **others} if have_options else IDENTITY:
        ours, theirs = settings.get(name, set()), others.get(name, set())
        if ours != theirs:
            raise InputError(
                f"{judge} is not the same judge in both: its {name} is {_listed(ours)} in {first.revision} and "
                f"{_listed(theirs)} in {second.revision}; have both judged by the same one"
            )


def _settings(judged: Judged, judge: str) -> dict[str, set[str]]:
    """The values that stand in a judge's rows for all that decides its scores."""
    found: dict[str, set[str]] = {name: set() for name in IDENTITY}
    for row in judged.rows:
        if row["judge"] == judge:
            settings = {**{name: row.get(name) for name in IDENTITY}, **row.get("options", {})}
            for name, value in settings.items():
                found.setdefault(name, set()).update([] if value is None else [str(value)])
    return found


def _scores(judged: Judged, judge: str, variant: Variant) -> dict[Any, float | None]:
    return {row["id"]: row["score"] for row in judged.rows if (row["judge"], row["variant"]) == (judge, variant)}


def describe(comparison: Comparison, first: str, second: str) -> str:
    """The comparison as a table of at most 80 columns and a sentence that says what it shows."""
    first, second = shorten(first, NAME_COLUMNS), shorten(second, NAME_COLUMNS)
    return "\n".join(_describe_lines(comparison, first, second))


def _describe_lines(comparison: Comparison, first: str, second: str) -> Iterator[str]:
    width = max(len(first), len(second), len("difference"))
    yield f"{comparison.variant}, judged by {shorten(comparison.judge, NAME_COLUMNS)} from 0 to 100"
    yield f"{'':{width}}  {'mean':>7}  {'95 % interval':>18}  {'entries':>7}"
    for name, mean, form in (
        (first, comparison.first, ".2f"),
        (second, comparison.second, ".2f"),
        ("difference", comparison.difference, "+.2f"),
    ):
        interval = "none" if mean.low is None else f"{mean.low:{form}} to {mean.high:{form}}"
        yield f"{name:{width}}  {format(mean.value, form):>7}  {interval:>18}  {comparison.n:>7}"
    yield f"{second} wins {comparison.wins}, ties {comparison.ties}, loses {comparison.losses}"
    if comparison.n_left_out:
        yield f"left out: {comparison.n_left_out} without a score in one of the two"
    if comparison.wins == comparison.losses == 0:
        yield "Every score is the same in both."
    elif comparison.sign == "undecided":
        yield "The difference's interval includes 0: these entries do not tell the two apart."
    else:
        yield f"The difference's interval excludes 0: {second} is {comparison.sign}."


def _listed(values: set[str]) -> str:
    return " and ".join(sorted(values)) or "not given"
