"""Ten test instructions with their references and what each model answered, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scratchlm.assistant.instructions import FIELDS, VARIANTS
from scratchlm.judging.comparison import RESPONSES, VERDICTS
from scratchlm.report.blocks import Answered, Block, Section, Task, Words
from scratchlm.report.run import Run, missing

SHOWN = 10

Entry = Mapping[str, Any]


def evenly_spaced(n: int, shown: int = SHOWN) -> list[int]:
    """Return at most `shown` places among `n`, evenly spaced from the first on.

    >>> evenly_spaced(110), evenly_spaced(2)
    ([0, 11, 22, 33, 44, 55, 66, 77, 88, 99], [0, 1])
    """
    k = min(n, shown)
    return [place * n // k for place in range(k)]


def answers(runs: Sequence[Run]) -> Section:
    """Return ten entries; runs that answered the same instructions share them, others have ten of their own."""
    blocks: list[Block] = []
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if entries := run.records(RESPONSES):
            groups.setdefault(tuple(_task(entry) for entry in entries), []).append(run)
    for group in groups.values():
        blocks += _group(group, several=len(runs) > 1, apart=len(groups) > 1)
    return Section("answers", "Ten answers", blocks, missing(runs, RESPONSES))


def _task(entry: Entry) -> tuple[Any, ...]:
    return (entry.get("id"), *(entry.get(field) for field in FIELDS))


def _group(runs: Sequence[Run], several: bool, apart: bool) -> Iterator[Block]:
    entries = {run.name: run.records(RESPONSES) for run in runs}
    scores = {run.name: _scores(run) for run in runs}
    first = entries[runs[0].name]
    places = evenly_spaced(len(first))
    of_whom = f" of {', '.join(entries)}" if apart else ""
    yield Words(
        f"{len(places)} of the {len(first):,} test entries{of_whom}, evenly spaced in their order, whatever the scores."
    )
    for place in places:
        entry = first[place]
        key = entry.get("id")
        yield Task(
            title=f"Entry {key}",
            instruction=_text(entry.get("instruction")),
            input=_text(entry.get("input")),
            reference=_text(entry.get("output")),
            columns=len(runs) if several else len(VARIANTS),
            answers=[
                _answered(
                    given, variant, f"{variant}, {name}" if several else variant, scores[name].get((key, variant), [])
                )
                for variant in VARIANTS
                for name, of_run in entries.items()
                if isinstance(given := of_run[place].get(variant), dict)
            ],
        )


def _answered(given: Entry, variant: str, who: str, scores: Sequence[str]) -> Answered:
    tokens = given.get("tokens")
    end = "ended by itself" if given.get("finish") == "stop" else "cut at the limit"
    return Answered(
        who=who,
        variant=variant,
        text=_text(given.get("text")),
        end=f"{tokens} tokens, {end}",
        scores=scores,
    )


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _scores(run: Run) -> dict[tuple[Any, str], list[str]]:
    found: dict[tuple[Any, str], list[str]] = {}
    for row in run.records(VERDICTS):
        score = row.get("score")
        shown = f"no score ({row.get('status')})" if score is None else f"{score:.1f}"
        found.setdefault((row.get("id"), str(row.get("variant"))), []).append(f"{row.get('judge')} {shown}")
    return found
