"""Verdicts: one row for every answer, whatever became of the attempt to score it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from scratchlm.errors import InputError
from scratchlm.metrics import rounded
from scratchlm.progress import progress_bar

Variant = Literal["base", "assistant"]
Status = Literal["ok", "empty", "parse_error", "out_of_range", "truncated", "http_error"]
Entry = Mapping[str, Any]  # of data/responses.json: id, instruction, input, output, base, assistant
Row = dict[str, Any]  # of data/verdicts.json: as make_row writes it

VARIANTS: tuple[Variant, ...] = ("base", "assistant")
DEAD_AFTER = 5  # answers in a row that the server failed, each after its own retries


@dataclass(frozen=True)
class Verdict:
    """What a judge made of one answer; without a score, `reason` says why and `raw` keeps what it said."""

    status: Status
    score: float | None
    reason: str = ""
    raw: str = ""
    attempts: int = 1
    prompt_sha256: str | None = None
    measures: Mapping[str, float | bool] = field(default_factory=dict)  # further columns of this judge alone


class Reading(NamedTuple):
    """What a parser made of a judge's words: without a score, `reason` says why."""

    status: Status
    score: float | None
    reason: str


class Judge(Protocol):
    """Anything that scores an answer against its entry's reference and never raises over a single one."""

    @property
    def backend(self) -> str:
        """Its kind: "overlap", "ollama"."""

    @property
    def model(self) -> str:
        """Which one of its kind: a model's name or the scorer's signature."""

    @property
    def model_digest(self) -> str | None:
        """The exact weights behind `model`, where a server knows them."""

    def judge(self, entry: Entry, response: str) -> Verdict:
        """Score one answer."""


def judge_responses(entries: Sequence[Entry], judge: Judge) -> list[Row]:
    """Have every entry's two answers judged and return their rows, in the entries' order.

    Shows a progress bar with rate, ETA and failures on a terminal, and one line with the time at the end.
    When the judge's server fails five answers in a row it is gone: the rest get a row that says so, unasked.
    Raises InputError if there is nothing to judge.
    """
    if not entries:
        raise InputError("the list of responses to judge is empty: run generate_responses on at least one entry")
    rows: list[Row] = []
    failed = failed_in_a_row = 0
    start_s = time.monotonic()
    total = len(entries) * len(VARIANTS)
    with progress_bar(total, f"judge ({judge.backend})", "answer") as bar:
        for entry in entries:
            for variant in VARIANTS:
                if failed_in_a_row < DEAD_AFTER:
                    verdict = judge.judge(entry, entry[variant]["text"])
                else:
                    verdict = Verdict("http_error", None, f"not asked: {DEAD_AFTER} failures in a row", attempts=0)
                rows.append(make_row(entry, variant, judge, verdict))
                failed += verdict.score is None
                if verdict.status != "empty":  # answered without asking, so no sign of life
                    failed_in_a_row = failed_in_a_row + 1 if verdict.status == "http_error" else 0
                bar.set_postfix(failed=failed, refresh=False)
                bar.update()
    duration_s = time.monotonic() - start_s
    print(f"judged {len(rows)} answers in {duration_s:.1f} s, {failed} without a score", file=sys.stderr)
    return rows


def make_row(entry: Entry, variant: Variant, judge: Judge, verdict: Verdict) -> Row:
    """Lay one verdict out as a row of data/verdicts.json, floats rounded to four decimals."""
    row: Row = {
        "id": entry["id"],
        "variant": variant,
        "judge": judge.backend,
        "model": judge.model,
        "model_digest": judge.model_digest,
        "prompt_sha256": verdict.prompt_sha256,
        "status": verdict.status,
        "score": verdict.score,
        "reason": verdict.reason,
        "raw": verdict.raw,
        "attempts": verdict.attempts,
        **verdict.measures,
    }
    return {key: rounded(value) for key, value in row.items()}
