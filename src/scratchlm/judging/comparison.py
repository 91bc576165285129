"""An honest comparison of two revisions: the assistants' scores entry by entry, with the difference's interval."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scratchlm.errors import InputError
from scratchlm.judging.summary import bootstrap_mean_interval

RESPONSES = "data/responses.json"
VERDICTS = "data/verdicts.json"
ENTRY_KEYS = ("id", "instruction", "input", "output")
ROW_KEYS = ("id", "variant", "judge", "score")
WORKSPACE = "workspace"
SEED = 123  # of the bootstrap, the same for all comparisons
VARIANT = "assistant"
IDENTITY = ("model", "model_digest", "prompt")  # what makes two judges of one name the same
NAME_COLUMNS = 30
ELLIPSIS = "..."

Sign = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Judged:
    """What one revision holds: its entries (data/responses.json) and their verdicts (data/verdicts.json)."""

    revision: str  # as the user named it
    entries: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % bootstrap interval, whose ends are None where one value leaves nothing to resample."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """One judge's scores of two assistants, over the entries where both have one."""

    judge: str
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


def read_judged(revisions: Sequence[str], folder: Path) -> list[Judged]:
    """Read what Git revisions, DVC experiments or the workspace hold, in the project that `folder` is part of.

    Nothing is checked out; the files come from DVC's cache, or from its remote if they are not there.
    Raises InputError for a folder that is no project, an unknown revision, and one without verdicts.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            return [_read_revision(repo, revision) for revision in revisions]
    except NotDvcRepoError:
        raise InputError(f"{folder.resolve()} is in no DVC project: run this in the project's folder") from None
    except DvcException as error:
        raise InputError(f"DVC cannot read the revisions: {_one_line(error)}") from None


def _read_revision(repo: Any, revision: str) -> Judged:
    from dvc.fs import DVCFileSystem
    from dvc.repo.brancher import switch
    from dvc.scm import SCMError

    try:
        with switch(repo, revision):
            # A file system of its own, because the repository's still shows the revision before.
            files = DVCFileSystem(repo=repo)
            entries = _read_list(files, RESPONSES, ENTRY_KEYS, revision)
            rows = _read_list(files, VERDICTS, ROW_KEYS, revision)
    except SCMError as error:
        raise InputError(
            f"{revision} is unknown ({_one_line(error)}): name a Git revision, an experiment of `dvc exp show`, "
            f"or `{WORKSPACE}`"
        ) from None
    return Judged(revision, entries, rows)


def _read_list(files: Any, path: str, keys: Sequence[str], revision: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(files.read_text(f"/{path}", encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{revision} has no {path}, or neither DVC's cache nor its remote holds it: run `make repro` there, "
            "or `dvc pull`"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{path} of {revision} is not valid JSON ({_one_line(error)}): run `make repro` there"
        ) from None
    if not isinstance(found, list) or not all(isinstance(item, dict) and item.keys() >= set(keys) for item in found):
        raise InputError(f"{path} of {revision} is no list of objects with {', '.join(keys)}: run `make repro` there")
    return found


def compare(first: Judged, second: Judged) -> list[Comparison]:
    """Compare the assistants of two revisions, by each judge that scored both, in the second's order.

    Raises InputError, naming what differs, if the entries are not the same, if no judge scored both, or if a
    judge of one name is not the same in both.
    """
    _require_same_entries(first, second)
    judges = list(dict.fromkeys(row["judge"] for row in second.rows))
    shared = [judge for judge in judges if any(row["judge"] == judge for row in first.rows)]
    if not shared:
        other = ", ".join(dict.fromkeys(row["judge"] for row in first.rows)) or "nobody"
        raise InputError(
            f"{first.revision} was judged by {other}, {second.revision} by {', '.join(judges) or 'nobody'}: "
            "scores of different judges cannot be compared, set the same judge.judges and run `make repro`"
        )
    for judge in shared:
        _require_same_judge(first, second, judge)
    return [_compare_scores(_scores(first, judge), _scores(second, judge), judge) for judge in shared]


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
    for key in IDENTITY:
        values, others = (
            {row[key] for row in judged.rows if row["judge"] == judge and row.get(key) is not None}
            for judged in (first, second)
        )
        if values != others:
            raise InputError(
                f"{judge} is not the same judge in both: its {key} is {_listed(values)} in {first.revision} and "
                f"{_listed(others)} in {second.revision}; judge both by the same one with `make repro`"
            )


def _scores(judged: Judged, judge: str) -> dict[Any, float | None]:
    return {row["id"]: row["score"] for row in judged.rows if row["judge"] == judge and row["variant"] == VARIANT}


def _compare_scores(
    scores: Mapping[Any, float | None], other_scores: Mapping[Any, float | None], judge: str
) -> Comparison:
    ids = list(dict.fromkeys([*scores, *other_scores]))
    pairs = [pair for pair in ((scores.get(key), other_scores.get(key)) for key in ids) if None not in pair]
    if not pairs:
        raise InputError(f"{judge} gave no entry a score in both: see the reasons in {VERDICTS}")
    first, second = np.array(pairs, dtype=np.float64).T  # both (n,)
    difference = second - first
    return Comparison(
        judge=judge,
        first=_mean(first),
        second=_mean(second),
        difference=_mean(difference),
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
        n=len(pairs),
        n_left_out=len(ids) - len(pairs),
    )


def _mean(values: np.ndarray) -> Mean:
    return Mean(float(values.mean()), *bootstrap_mean_interval(values, SEED))


def describe(comparison: Comparison, first: str, second: str) -> str:
    """The comparison as a table of at most 80 columns and a sentence that says what it shows."""
    first, second = _shortened(first), _shortened(second)
    return "\n".join(_describe_lines(comparison, first, second))


def _describe_lines(comparison: Comparison, first: str, second: str) -> Iterator[str]:
    width = max(len(first), len(second), len("difference"))
    yield f"assistant, judged by {_shortened(comparison.judge)} from 0 to 100"
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


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_COLUMNS else name[: NAME_COLUMNS - len(ELLIPSIS)] + ELLIPSIS


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values))) or "not given"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
