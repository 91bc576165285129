"""Verdicts: one record for every answer, which becomes its row whatever happens to the judge's server."""

from __future__ import annotations

import math
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from tenacity import RetryCallState, Retrying, retry_if_result

from scratchlm.assistant.instructions import COMPARED, VARIANTS, AnsweredEntry, Variant
from scratchlm.errors import InputError
from scratchlm.judging.client import BackendError, TooSlow
from scratchlm.judging.prompt import Status
from scratchlm.stage.metrics import rounded
from scratchlm.stage.progress import progress_bar

DEFAULT_PATIENCE_S = 60.0
FIRST_WAIT_S = 0.5  # doubles from round to round, plus up to half as much again at random
LONGEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0  # of what a server may ask for


class Row(TypedDict):
    """An answer's row in data/verdicts.json, in the order of its columns there; floats have four decimals."""

    id: int | str  # the entry's
    variant: str  # whose answer it is, such as "assistant"; in a pair the one shown first, of a probe its kind
    other: NotRequired[str]  # in a pair: whose answer is shown second
    judge: str  # its name
    model: str  # which one of the judge's kind: a model's name or the scorer's signature
    model_digest: str | None  # the exact weights behind `model`, where a server knows them
    prompt: str | None  # the name of the prompt that a model was asked with
    prompt_sha256: str | None  # of the prompt as it was sent
    status: Status
    score: float | None  # from 0 to 100; in a pair 100 if the first answer is better, 0 if the other is, 50 if neither
    winner: NotRequired[str | None]  # in a pair: whose answer is better, or "tie"; None without a verdict
    reason: str  # the judge's own, or why there is no score
    raw: str  # the judge's words that hold the score
    attempts: int  # questions until now, in earlier runs too
    options: NotRequired[Mapping[str, Any]]  # of a language model: its settings, such as seed and temperature
    exact_match: NotRequired[bool]  # of `overlap`, as are the next three: its raw measures
    token_f1: NotRequired[float]
    chrf: NotRequired[float]
    prompt_chrf: NotRequired[float]


@dataclass
class Verdict:
    """An answer on its way to its row, with the row's columns; until a judge has looked at it, the row says so."""

    variant: str
    entry: AnsweredEntry  # what it answers, with the reference
    response: str  # the answer
    other: Variant | None = None  # in a pair: whose answer is shown second
    prompt: str | None = None
    prompt_sha256: str | None = None
    status: Status = "http_error"
    score: float | None = None
    reason: str = "not asked: the server had stopped answering"
    raw: str = ""
    attempts: int = 0
    columns: Mapping[str, Any] = field(default_factory=dict)  # the last ones of a row, which not all judges have
    failure: BackendError | None = None  # of the server, when it was asked last
    n_others: int | None = None  # answers that it had judged by then

    @property
    def other_response(self) -> str | None:
        """In a pair, the answer that is shown second."""
        return None if self.other is None else self.entry[self.other]["text"]

    def row(self, judge: Judge) -> Row:
        """Lay it out as a row."""
        own = {"judge": judge.name, "model": judge.model, "model_digest": judge.model_digest}
        found: dict[str, Any] = {"id": self.entry["id"], **own, **vars(self), **self.columns}
        if self.other is None:
            del found["other"]
        else:
            found["winner"] = {None: None, 100.0: self.variant, 50.0: "tie", 0.0: self.other}[self.score]
        row = {name: found[name] for name in Row.__annotations__ if name in found}
        return cast(Row, {name: rounded(value) if isinstance(value, float) else value for name, value in row.items()})


Item = tuple[str, AnsweredEntry, str] | tuple[str, AnsweredEntry, str, Variant]  # as in `judge_items`


class Question(NamedTuple):
    """What a language model is asked about one answer, or one pair, and the key of what it says in the cache."""

    key: str
    text: str
    schema: Mapping[str, Any] | None  # that the answer keeps to


class Judge:
    """Anything that scores answers against their entries' references, from many threads at once."""

    name: str  # as in judge.judges: "overlap", "ollama:llama3"
    model: str
    model_digest: str | None = None

    def judge(self, verdict: Verdict, may_ask: bool = True) -> int | Question:
        """Score one answer; return how many new completions that took, or the first one that a judge may not ask for.

        Never raises over a single answer: `verdict.failure` says why a server failed, and it can be judged again.
        """
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether the server answers another question, asked now."""
        return True


class ServerGone(InputError):
    """The judge's server stopped answering; `rows` holds a row for every item all the same."""

    def __init__(self, message: str, rows: list[Row]) -> None:
        super().__init__(message)
        self.rows = rows


def judge_responses(
    entries: Sequence[AnsweredEntry],
    judge: Judge,
    concurrency: int = 1,
    patience_s: float = DEFAULT_PATIENCE_S,
    pairwise: bool = False,
) -> list[Row]:
    """Have every entry's answers judged and return their rows, in the entries' order; see `judge_items`.

    With `pairwise` the answers of COMPARED are also compared, once in each order. Those rows follow, comparison by
    comparison, each in the entries' order.
    """
    if not entries:
        raise InputError("the list of responses to judge is empty: run generate_responses on at least one entry")
    items = list(response_items(entries, pairwise))
    return judge_items(items, judge, concurrency, patience_s, "questions" if pairwise else "answers")


def response_items(entries: Sequence[AnsweredEntry], pairwise: bool) -> Iterator[Item]:
    """Yield every entry's answers and, with `pairwise`, then the pairs of them in both orders."""
    for entry in entries:
        for variant in VARIANTS:
            yield variant, entry, entry[variant]["text"]
    for pair in COMPARED.values() if pairwise else ():
        for entry in entries:
            for first, second in (pair, pair[::-1]):
                yield first, entry, entry[first]["text"], second


def judge_items(items: Sequence[Item], judge: Judge, concurrency: int, patience_s: float, what: str) -> list[Row]:
    """Have every item judged, `concurrency` at a time; return their rows, in order.

    An item is (variant, entry, response), in a pair followed by the variant whose response is shown second.

    Shows a progress bar with rate, ETA and failures on a terminal, and one line with the times at the end.
    Raises ServerGone, with all rows, when the server has failed for `patience_s` without one completion.
    """
    start_s = time.monotonic()
    verdicts = [Verdict(*item) for item in items]
    rounds = Rounds(judge, verdicts, patience_s)
    tries = Retrying(retry=retry_if_result(bool), wait=rounds.pause_s)
    # Its threads are daemons: on Ctrl-C nobody waits for the questions that a server keeps hanging.
    with ThreadPool(concurrency) as pool, progress_bar(len(items), f"judge ({judge.name})", what[:-1]) as bar:
        tries(rounds.ask_all, pool, bar)
    rows = [verdict.row(judge) for verdict in verdicts]
    n_failed, duration_s = sum(row["score"] is None for row in rows), time.monotonic() - start_s
    times = f"{judge.name}: judged {len(rows)} {what} in {duration_s:.1f} s, {n_failed} without a score"
    if rounds.latencies_s:
        median_s, most_s = statistics.median(rounds.latencies_s), max(rounds.latencies_s)
        times += f"; the server was asked for {len(rounds.latencies_s)} of them, {median_s:.2f} s each (median), "
        times += f"{most_s:.2f} s at most"
    print(times, file=sys.stderr)
    # Where the server answers another question, the few that it failed are at fault.
    if any(verdict.failure is None for verdict in rounds.waiting) or (rounds.waiting and not judge.is_alive()):
        n_missing = sum(row["status"] == "http_error" for row in rows)
        raise ServerGone(
            f"{judge.name} stopped answering ({rounds.waiting[-1].reason}): {len(rows) - n_failed} of {len(rows)} "
            f"{what} have a score, {n_missing} are missing",
            rows,
        )
    return rows


class Rounds:
    """Rounds of questions to one server, a task for each answer that waits for its verdict.

    Once the server fails, nothing more is asked in that round. The next one waits, longer each time and at least as
    long as the server wants, and the answers that it failed come last.
    """

    def __init__(self, judge: Judge, waiting: list[Verdict], patience_s: float) -> None:
        self.judge, self.waiting, self.patience_s = judge, waiting, patience_s
        self.n_failed = 0  # answers without a score
        self.latencies_s: list[float] = []  # of the answers for which the server gave a completion
        self.failing_since_s = math.inf  # the end of the first question that failed, with no completion after it
        self.wait_s, self.retry_after_s = FIRST_WAIT_S, 0.0

    def ask_all(self, pool: ThreadPool, bar: Any) -> bool:
        """Make one round; whether to make another: not where the server has failed for longer than the patience."""
        is_failing = threading.Event()  # in this round

        def ask(verdict: Verdict) -> tuple[Verdict, int | None, float, float]:
            """In a thread of the pool, have one answer judged; once the server fails, from the cache alone."""
            start_s = time.monotonic()
            asked = self.judge.judge(verdict, may_ask=not is_failing.is_set())
            n_new = None if isinstance(asked, Question) else asked
            if n_new is not None and verdict.failure is not None and verdict.failure.worth_retrying:
                is_failing.set()
            return verdict, n_new, start_s, time.monotonic()

        unasked, failed = [], []
        for verdict, n_new, start_s, end_s in pool.imap_unordered(ask, self.waiting):
            if n_new:
                self.latencies_s.append(end_s - start_s)
                self.wait_s, self.failing_since_s = FIRST_WAIT_S, math.inf
            if n_new is None:
                unasked.append(verdict)
            elif self.must_ask_again(verdict):
                failed.append(verdict)
                self.failing_since_s = min(self.failing_since_s, end_s)
            else:
                self.n_failed += verdict.score is None
                bar.set_postfix(failed=self.n_failed, refresh=False)
                bar.update()
        self.waiting = unasked + failed
        wishes = [verdict.failure.retry_after_s for verdict in failed if verdict.failure]
        self.retry_after_s = min(max(filter(None, wishes), default=0.0), LONGEST_RETRY_AFTER_S)
        return bool(self.waiting) and time.monotonic() - self.failing_since_s < self.patience_s

    def must_ask_again(self, verdict: Verdict) -> bool:
        """Whether another question may help: not where the second one was too slow while others were answered."""
        n_then, verdict.n_others = verdict.n_others, len(self.latencies_s)
        is_at_fault = isinstance(verdict.failure, TooSlow) and n_then not in (None, verdict.n_others)
        return verdict.failure is not None and verdict.failure.worth_retrying and not is_at_fault

    def pause_s(self, state: RetryCallState) -> float:
        """How long to wait before the next round."""
        pause_s = max(self.wait_s * random.uniform(1.0, 1.5), self.retry_after_s)
        self.wait_s = min(2 * self.wait_s, LONGEST_WAIT_S)
        return pause_s
