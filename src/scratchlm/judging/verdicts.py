"""Verdicts: one row for every answer, whatever became of the attempt to score it."""

from __future__ import annotations

import os
import queue
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from scratchlm.errors import InputError
from scratchlm.judging.backend import BackendError, TooSlow
from scratchlm.judging.patience import DEFAULT_PATIENCE_S, Patience
from scratchlm.judging.reading import Status
from scratchlm.stage.metrics import rounded
from scratchlm.stage.progress import progress_bar

Variant = Literal["base", "assistant"]
Entry = Mapping[str, Any]  # of data/responses.json: id, instruction, input, output, base, assistant
Row = dict[str, Any]  # of data/verdicts.json: as make_row writes it
Item = tuple[str, Entry, str]  # one answer to score: its variant or kind of probe, its entry, its text

VARIANTS: tuple[Variant, ...] = ("base", "assistant")
MOST_AT_ONCE = 64
MAX_REASON_CHARS = 1000  # of one row; a judge that does not stop can give a book of them
STRIKES = 4  # how often an answer may fail again while others succeed
LOOK_AROUND_S = 0.5  # on some systems Ctrl-C cannot end a longer wait


@dataclass(frozen=True)
class Verdict:
    """What a judge made of one answer; without a score, `reason` says why and `raw` keeps what it said."""

    status: Status
    score: float | None
    reason: str = ""
    raw: str = ""
    attempts: int = 1  # questions until now, in earlier runs too
    prompt: str | None = None  # its name
    prompt_sha256: str | None = None  # of the prompt as it was sent
    measures: Mapping[str, float | bool] = field(default_factory=dict)  # further columns of this judge alone
    asked: int = 0  # questions that a server answered just now, for this verdict
    failure: BackendError | None = None  # why there is no answer, where the server gave none


class Judge(Protocol):
    """Anything that scores an answer against its entry's reference and never raises over a single one."""

    @property
    def name(self) -> str:
        """As in judge.judges: "overlap", "ollama:llama3"."""

    @property
    def model(self) -> str:
        """Which one of its kind: a model's name or the scorer's signature."""

    @property
    def model_digest(self) -> str | None:
        """The exact weights behind `model`, where a server knows them."""

    def recall(self, entry: Entry, response: str) -> Verdict | None:
        """The verdict that needs no server, None where one must be asked."""

    def judge(self, entry: Entry, response: str) -> Verdict:
        """Score one answer; may be called from several threads at once."""

    def is_alive(self) -> bool:
        """Whether the server answers another question, asked now."""


class ServerGone(InputError):
    """The judge's server stopped answering; `rows` holds a row for every item all the same."""

    def __init__(self, judge: str, what: str, rows: list[Row], reason: str) -> None:
        self.rows = rows
        n_scored = sum(row["score"] is not None for row in rows)
        n_missing = sum(row["status"] == "http_error" for row in rows)
        super().__init__(
            f"{judge} stopped answering ({reason}): {n_scored} of {len(rows)} {what} have a score, "
            f"{n_missing} are missing"
        )


@dataclass
class Job:
    """One answer to score, and what became of it so far."""

    index: int
    item: Item
    asked_s: float = 0.0  # when last, monotonic
    failed: Verdict | None = None  # the last time
    answers_then: int = 0  # how many others the server had answered at that time
    strikes: int = 0


def judge_responses(
    entries: Sequence[Entry], judge: Judge, concurrency: int = 1, patience_s: float = DEFAULT_PATIENCE_S
) -> list[Row]:
    """Have every entry's two answers judged and return their rows, in the entries' order; see `judge_items`."""
    if not entries:
        raise InputError("the list of responses to judge is empty: run generate_responses on at least one entry")
    items = [(variant, entry, entry[variant]["text"]) for entry in entries for variant in VARIANTS]
    return judge_items(items, judge, concurrency, patience_s, "answers")


def judge_items(items: Sequence[Item], judge: Judge, concurrency: int, patience_s: float, what: str) -> list[Row]:
    """Have every item judged, `concurrency` at a time, and return their rows, in the items' order.

    An answer that the server fails goes to the end of the queue, and while the server fails nobody asks: the waits
    grow, and are at least as long as the server wants. Shows a progress bar with rate, ETA and failures on a
    terminal, and one line with the times at the end.

    Raises ServerGone, with all rows, when the server has failed for `patience_s` without one answer.
    """
    start_s = time.monotonic()
    rows: list[Row | None] = [None] * len(items)
    latencies_s: list[float] = []
    n_failed = 0
    patience = Patience(patience_s)
    waiting: deque[Job] = deque()
    running: dict[int, Job] = {}
    outcomes: queue.SimpleQueue[tuple[Job, Verdict | BaseException]] = queue.SimpleQueue()

    with progress_bar(len(items), f"judge ({judge.name})", what.rstrip("s")) as bar:

        def keep(index: int, verdict: Verdict) -> None:
            nonlocal n_failed
            rows[index] = make_row(items[index], judge, verdict)
            n_failed += verdict.score is None
            bar.set_postfix(failed=n_failed, refresh=False)
            bar.update()

        for index, (_, entry, response) in enumerate(items):
            if known := judge.recall(entry, response):
                keep(index, known)
            else:
                waiting.append(Job(index, items[index]))
        while (waiting or running) and not patience.is_over:
            while waiting and len(running) < concurrency and not patience.wait_s:
                job = waiting.popleft()
                job.asked_s = time.monotonic()
                running[job.index] = job
                # Daemons: on Ctrl-C, and when the server is gone, nobody waits for those that it keeps hanging.
                threading.Thread(target=_judge_one, args=(judge, job, outcomes), daemon=True).start()
            try:
                job, verdict = outcomes.get(timeout=min(patience.wait_s or LOOK_AROUND_S, LOOK_AROUND_S))
            except queue.Empty:
                continue
            if isinstance(verdict, BaseException):
                raise verdict
            del running[job.index]
            if verdict.asked:
                patience.answered()
                latencies_s.append(time.monotonic() - job.asked_s)
            if verdict.failure is not None and verdict.failure.worth_retrying:
                patience.failed(job.asked_s, verdict.failure.retry_after_s)
                is_at_fault = _note_failure(job, verdict, patience.answers)
                if not is_at_fault:
                    waiting.append(job)
                    continue
            keep(job.index, verdict)

    left = [*running.values(), *waiting]
    for job in left:
        unasked = Verdict("http_error", None, "not asked: the server had stopped answering", attempts=0)
        rows[job.index] = make_row(job.item, judge, job.failed or unasked)
    done = [row for row in rows if row is not None]
    _print_times(judge, what, done, time.monotonic() - start_s, latencies_s)
    failures = [job.failed.reason for job in left if job.failed]
    # Where the server answers another question, the few that it failed are at fault.
    if any(job.failed is None for job in left) or (left and not judge.is_alive()):
        raise ServerGone(judge.name, what, done, failures[-1] if failures else "no answer")
    return done


def make_row(item: Item, judge: Judge, verdict: Verdict) -> Row:
    """Lay one verdict out as a row of data/verdicts.json, floats rounded to four decimals."""
    variant, entry, _ = item
    row: Row = {
        "id": entry["id"],
        "variant": variant,
        "judge": judge.name,
        "model": judge.model,
        "model_digest": judge.model_digest,
        "prompt": verdict.prompt,
        "prompt_sha256": verdict.prompt_sha256,
        "status": verdict.status,
        "score": verdict.score,
        "reason": verdict.reason[:MAX_REASON_CHARS],
        "raw": verdict.raw,
        "attempts": verdict.attempts,
        **verdict.measures,
    }
    return {key: rounded(value) for key, value in row.items()}


def read_concurrency() -> int:
    """How many answers are judged at a time, from SCRATCHLM_JUDGE_CONCURRENCY."""
    text = os.environ.get("SCRATCHLM_JUDGE_CONCURRENCY", "4")
    if not text.isdecimal() or not 1 <= int(text) <= MOST_AT_ONCE:
        raise InputError(f"SCRATCHLM_JUDGE_CONCURRENCY is {text!r}, wanted a whole number from 1 to {MOST_AT_ONCE}")
    return int(text)


def _judge_one(judge: Judge, job: Job, outcomes: queue.SimpleQueue[tuple[Job, Verdict | BaseException]]) -> None:
    _, entry, response = job.item
    try:
        outcomes.put((job, judge.judge(entry, response)))
    except BaseException as defect:  # raised again where the rows are made
        outcomes.put((job, defect))


def _note_failure(job: Job, verdict: Verdict, answers: int) -> bool:
    """Note that a question failed; whether it is at fault itself: others were answered between its failures."""
    job.strikes += job.failed is not None and answers > job.answers_then
    job.failed, job.answers_then = verdict, answers
    return job.strikes >= (1 if isinstance(verdict.failure, TooSlow) else STRIKES)


def _print_times(judge: Judge, what: str, rows: Sequence[Row], duration_s: float, latencies_s: Sequence[float]) -> None:
    n_failed = sum(row["score"] is None for row in rows)
    times = ""
    if latencies_s:
        times = (
            f"; the server was asked for {len(latencies_s)} of them, "
            f"{statistics.median(latencies_s):.2f} s each (median), {max(latencies_s):.2f} s at most"
        )
    print(
        f"{judge.name}: judged {len(rows)} {what} in {duration_s:.1f} s, {n_failed} without a score{times}",
        file=sys.stderr,
    )
