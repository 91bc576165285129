"""The judging of all answers: a row for each, in order, and a server that fails, hangs, dies and comes back."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from answered import answered
from ollama_server import OllamaServer
from scripted_server import BUSY, DROPPED, HANGS, HTML, LIMITED, Reply
from tenacity import nap

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.errors import InputError
from scratchlm.judging import verdicts
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.backends import ollama as ollama_backend
from scratchlm.judging.client import BackendError, TooSlow
from scratchlm.judging.judges import LlmJudge, judge_by_all
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.probes import probe_items
from scratchlm.judging.prompt import load_prompt
from scratchlm.judging.verdicts import Judge, Row, ServerGone, Verdict, judge_items, judge_responses
from scratchlm.params.schema import JudgeParams

REPOSITORY = Path(__file__).parents[3]


def make_entries(count: int) -> list[dict[str, Any]]:
    return [
        answered(
            10 * number,
            "" if number == 1 else f"Say {number}",
            f"It is word{number}.",
            f"Surely word{number}.",
            instruction=f"Say the word for {number}.",
            output=f"It is word{number}.",
        )
        for number in range(count)
    ]


def verdict(
    status: str, score: float | None, raw: str = "", attempts: int = 1, asked: int = 0, failure: Any = None
) -> dict[str, Any]:
    """What a judge puts into its verdict, and how often its server answered for that."""
    reason = "" if failure is None else failure.reason
    fields = {"status": status, "score": score, "raw": raw, "attempts": attempts, "failure": failure, "reason": reason}
    return {"fields": fields, "asked": asked}


@dataclass
class ScriptedJudge(Judge):
    """Gives the verdicts it was given, in order, then OK."""

    verdicts: list[dict[str, Any]]
    asked: list[str] = field(default_factory=list)
    name: str = "scripted:judge"
    model: str = "script"
    alive: bool = False

    def recall(self, response: str) -> dict[str, Any] | None:
        """The verdict for which nobody is asked."""
        return None

    def ask(self, entry: Any, response: str) -> dict[str, Any]:
        self.asked.append(response)
        return self.verdicts.pop(0) if self.verdicts else OK

    def judge(self, verdict: Verdict, may_ask: bool = True) -> int | None:
        found = self.recall(verdict.response) or (self.ask(verdict.entry, verdict.response) if may_ask else None)
        if found is None:
            return None
        vars(verdict).update(found["fields"])
        return int(found["asked"])

    def is_alive(self) -> bool:
        return self.alive


OK = verdict("ok", 50.0, asked=1)
BUSY_NOW = verdict("http_error", None, attempts=4, failure=BackendError("503 busy", worth_retrying=True))
SLOW = verdict("http_error", None, failure=TooSlow("no answer within 120 s", worth_retrying=True))
REFUSED = verdict("http_error", None, failure=BackendError("400", worth_retrying=False))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "FIRST_WAIT_S", 0.001)


def test_every_answer_gets_one_row_with_the_same_fields_in_order() -> None:
    rows = judge_responses(make_entries(3), OverlapJudge(), concurrency=3)
    assert [(row["id"], row["variant"]) for row in rows] == [(id, name) for id in (0, 10, 20) for name in VARIANTS]
    assert [row["score"] for row in rows if row["variant"] == "assistant"] == [100, 100, 100]
    assert rows[3]["status"] == "empty" and rows[3]["score"] == 0
    identity = ("id", "variant", "judge", "model", "model_digest", "prompt", "prompt_sha256")
    outcome = ("status", "score", "reason", "raw", "attempts")
    measures = ("exact_match", "token_f1", "chrf", "prompt_chrf")
    assert {tuple(row) for row in rows} == {identity + outcome + measures}
    assert {row["judge"] for row in rows} == {"overlap"}


def test_the_same_answers_give_the_same_bytes_however_many_at_once() -> None:
    first, second = (json.dumps(judge_responses(make_entries(9), OverlapJudge(), count)) for count in (1, 8))
    assert first == second


def test_probes_go_the_same_way_under_the_name_of_their_kind() -> None:
    items = probe_items(make_entries(4), 2, seed=1)
    rows = judge_items(items, OverlapJudge(), 2, 1.0, "probes")
    assert [(row["variant"], row["id"]) for row in rows] == [(item.kind, item.entry["id"]) for item in items]
    assert {row["score"] for row in rows if row["variant"] == "reference"} == {100}


def test_no_more_are_judged_at_once_than_allowed_and_rows_keep_their_order() -> None:
    lock = threading.Lock()
    running, most = 0, 0
    generator = random.Random(1)

    class Busy(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                wait_s = generator.uniform(0, 0.01)
            time.sleep(wait_s)
            with lock:
                running -= 1
            return verdict("ok", float(entry["id"] // 10), raw=response)

    rows = judge_responses(make_entries(20), Busy([]), concurrency=5)
    assert most == 5
    assert [row["score"] for row in rows] == [float(number // 3) for number in range(60)]
    assert [row["raw"] for row in rows[6:9]] == ["Say 2", "It is word2.", "Surely word2."]


def test_a_failed_answer_goes_to_the_end_of_the_queue_and_none_is_lost() -> None:
    judge = ScriptedJudge([OK, BUSY_NOW, BUSY_NOW, OK])
    rows = judge_responses(make_entries(3), judge)
    assert [row["status"] for row in rows] == ["ok"] * 9
    assert judge.asked == [
        "Say 0", "It is word0.",
        "Surely word0.",
        "", "It is word1.", "Surely word1.", "Say 2", "It is word2.", "Surely word2.", "It is word0.", "Surely word0.",
    ]  # fmt: skip


def test_what_a_server_refuses_is_not_asked_again() -> None:
    judge = ScriptedJudge([OK, REFUSED, OK])
    rows = judge_responses(make_entries(2), judge)
    assert [row["status"] for row in rows] == ["ok", "http_error", "ok", "ok", "ok", "ok"]
    assert len(judge.asked) == 6


def test_an_answer_that_fails_while_others_succeed_is_given_up_and_the_others_are_judged() -> None:
    class Poisoned(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            self.asked.append(response)
            return BUSY_NOW if response == "Say 0" else OK

    rows = judge_responses(make_entries(5), Poisoned([], alive=True), concurrency=1, patience_s=0.05)
    assert [row["status"] for row in rows] == ["http_error"] + ["ok"] * 14
    assert rows[0]["reason"] == "503 busy"
    # The others came before the server died: the next run has to ask once more.
    with pytest.raises(ServerGone) as gone:
        judge_responses(make_entries(5), Poisoned([], alive=False), concurrency=1, patience_s=0.05)
    assert gone.value.rows == rows


@pytest.mark.parametrize("alive", [True, False])
def test_where_only_what_fails_is_left_another_question_tells_whose_fault_it_is(alive: bool) -> None:
    class Remembering(ScriptedJudge):
        def recall(self, response: str) -> dict[str, Any] | None:
            return None if response in ("Say 0", "It is word0.") else OK

    judge = Remembering([BUSY_NOW] * 1000, alive=alive)
    if alive:
        rows = judge_responses(make_entries(5), judge, concurrency=2, patience_s=0.05)
    else:
        with pytest.raises(ServerGone) as gone:
            judge_responses(make_entries(5), judge, concurrency=2, patience_s=0.05)
        rows = gone.value.rows
    assert [row["status"] for row in rows] == ["http_error"] * 2 + ["ok"] * 13


def test_what_was_never_asked_is_no_answers_fault() -> None:
    judge = ScriptedJudge([BUSY_NOW] * 1000, alive=True)  # it answers other questions than ours
    with pytest.raises(ServerGone):
        judge_responses(make_entries(50), judge, concurrency=1, patience_s=0.01)


def test_an_answer_that_takes_too_long_twice_while_others_succeed_is_not_waited_for_again() -> None:
    judge = ScriptedJudge([SLOW] + [OK] * 8 + [SLOW])
    rows = judge_responses(make_entries(3), judge, patience_s=1000)
    assert [row["status"] for row in rows] == ["http_error"] + ["ok"] * 8
    assert len(judge.asked) == 10


def test_a_server_that_stays_away_is_given_up_and_every_answer_has_its_row() -> None:
    judge = ScriptedJudge([OK, OK] + [BUSY_NOW] * 1000)
    with pytest.raises(ServerGone) as gone:
        judge_responses(make_entries(10), judge, concurrency=2, patience_s=0.05)
    rows = gone.value.rows
    assert [row["status"] for row in rows] == ["ok"] * 2 + ["http_error"] * 28
    assert str(gone.value) == (
        "scripted:judge stopped answering (503 busy): 2 of 30 answers have a score, 28 are missing"
    )
    reasons = {row["reason"] for row in rows[2:]}
    assert reasons <= {"503 busy", "not asked: the server had stopped answering"} and "503 busy" in reasons


def test_what_needs_no_server_gets_its_score_from_a_dead_one_too_and_is_no_sign_of_life() -> None:
    class Remembering(ScriptedJudge):
        def recall(self, response: str) -> dict[str, Any] | None:
            return verdict("ok", 7.0) if "word" in response else None

    with pytest.raises(ServerGone, match="14 of 21 answers have a score, 7 are missing"):
        judge_responses(make_entries(7), Remembering([BUSY_NOW] * 1000), patience_s=0.05)


def test_an_answer_without_a_question_is_no_sign_of_life() -> None:
    class Away(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:  # as where two answers are the same
            return verdict("ok", 7.0) if "word" in response else BUSY_NOW

    with pytest.raises(ServerGone):
        judge_responses(make_entries(50), Away([]), patience_s=0.05)


def test_a_defect_of_the_judge_is_raised() -> None:
    class Broken(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judge_responses(make_entries(3), Broken([]), concurrency=2)


def test_no_responses_are_refused() -> None:
    with pytest.raises(InputError, match="generate_responses"):
        judge_responses([], OverlapJudge())


@dataclass
class Clock:
    """The time, which passes only by the waits between two rounds, and these waits."""

    now_s: float = 100.0
    waits_s: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(verdicts, "time", SimpleNamespace(monotonic=lambda: found.now_s))
    monkeypatch.setattr(nap, "time", SimpleNamespace(sleep=found.sleep))
    return found


def test_the_waits_double_up_to_a_limit_with_jitter_and_end_with_an_answer(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "FIRST_WAIT_S", 0.5)
    all_three = threading.Barrier(3)

    class Away(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            n_waits = len(clock.waits_s)
            if n_waits < 8:
                all_three.wait(20)  # under way at the same time: the others' failures say nothing new
            return OK if n_waits == 8 or (n_waits == 7 and response == "Say 0") else BUSY_NOW

    judge_responses(make_entries(1), Away([]), concurrency=3, patience_s=60)
    *waits_s, last_s = clock.waits_s
    for wait_s, shortest_s in zip(waits_s, (0.5, 1, 2, 4, 8, 8, 8), strict=True):
        assert shortest_s <= wait_s <= 1.5 * shortest_s
    assert len({wait_s / shortest_s for wait_s, shortest_s in zip(waits_s, (0.5, 1, 2, 4, 8, 8, 8), strict=True)}) > 3
    assert last_s <= 0.75


def test_a_servers_own_wish_is_waited_for_within_bounds(clock: Clock) -> None:
    for wish_s, waited_s in ((30.0, 30.0), (86_400.0, 60.0)):
        limited = BackendError("429", worth_retrying=True, retry_after_s=wish_s)
        judge_responses(make_entries(1), ScriptedJudge([verdict("http_error", None, failure=limited)]), patience_s=60)
        assert clock.waits_s.pop() == waited_s
        assert not clock.waits_s


def test_patience_is_over_only_when_failures_span_it(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "FIRST_WAIT_S", 0.0)
    steps = [(0.0, BUSY_NOW), (59.0, BUSY_NOW), (0.0, OK), (59.0, BUSY_NOW), (60.0, BUSY_NOW)]

    class Slow(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            seconds, said = steps.pop(0)
            clock.now_s += seconds
            return said

    with pytest.raises(ServerGone, match="1 of 3 answers have a score"):
        judge_responses(make_entries(1), Slow([]), concurrency=1, patience_s=60)
    assert not steps


def test_the_patience_starts_with_the_first_failure_and_not_with_the_end_of_its_round() -> None:
    all_three = threading.Barrier(3)

    class Hanging(ScriptedJudge):
        def ask(self, entry: Any, response: str) -> dict[str, Any]:
            self.asked.append(response)
            all_three.wait(20)
            if response != "Say 0":
                time.sleep(1.0)
            return BUSY_NOW

    judge = Hanging([])
    with pytest.raises(ServerGone):
        judge_responses(make_entries(1), judge, concurrency=3, patience_s=0.5)
    assert sorted(judge.asked) == ["It is word0.", "Say 0", "Surely word0."]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_failures_on_a_terminal_and_is_silent_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown(stream: io.StringIO) -> str:
        monkeypatch.setattr("sys.stderr", stream)
        judge_responses(make_entries(2), ScriptedJudge([OK, REFUSED, OK, OK]))
        return stream.getvalue()

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bar = shown(Terminal())
    assert "judge (scripted:judge): 100%" in bar and "6/6" in bar and "failed=1" in bar
    for quiet in (shown(io.StringIO()), (monkeypatch.setenv("TQDM_DISABLE", "1"), shown(Terminal()))[1]):
        assert "100%" not in quiet
        assert quiet.startswith("scripted:judge: judged 6 answers in ") and quiet.count("\n") == 1
        assert " s, 1 without a score; the server was asked for 5 of them, 0.00 s each (median), " in quiet


# From here on over real HTTP.


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    with OllamaServer(answer=lambda request: Reply(str(len(request["messages"][0]["content"]) % 101))) as running:
        monkeypatch.setenv("OLLAMA_HOST", running.host)
        yield running


def connect_judge(cache_file: Path, timeout_s: float = 20.0) -> LlmJudge:
    settings = JudgeParams(
        judges=["ollama:llama3"],
        prompt="book",
        pairwise=False,
        temperature=0,
        num_ctx=2048,
        max_answer_tokens=256,
        probes=0,
        min_coverage=1,
    )
    backend = ollama_backend.connect("llama3", settings, 123, timeout_s)
    return LlmJudge(backend, load_prompt("book"), AnswerCache(cache_file), num_ctx=2048)


def judge_by_settings() -> list[Row]:
    settings = JudgeParams(
        judges=["ollama:llama3"],
        prompt="book",
        pairwise=False,
        temperature=0.0,
        num_ctx=2048,
        max_answer_tokens=256,
        probes=0,
        min_coverage=0.9,
    )
    verdicts, *_ = judge_by_all(make_entries(8), settings, seed=123)
    return verdicts["ollama:llama3"]


@pytest.mark.parametrize("text", ["0", "65", "four", "-1", "1.5", ""])
def test_a_concurrency_out_of_bounds_is_refused(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SCRATCHLM_JUDGE_CONCURRENCY", text)
    with pytest.raises(InputError, match="wanted a whole number from 1 to 64"):
        judge_by_settings()
    assert not server.requests


def test_four_are_judged_at_once_by_default(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SCRATCHLM_JUDGE_CONCURRENCY", raising=False)
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path))
    lock, all_four = threading.Lock(), threading.Event()
    running, most = 0, 0
    ask = ollama_backend.OllamaBackend.ask

    def counted(self: ollama_backend.OllamaBackend, question: str, schema: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 4:
                all_four.set()
        assert all_four.wait(5)  # nothing is sent before four want to ask
        completion = ask(self, question, schema)
        with lock:
            running -= 1
        return completion

    monkeypatch.setattr(ollama_backend.OllamaBackend, "ask", counted)
    assert {row["status"] for row in judge_by_settings()} == {"ok", "empty"}
    assert most == 4


def test_every_answer_has_a_row_whatever_the_server_does(server: OllamaServer, tmp_path: Path) -> None:
    whole = [Reply("5"), Reply("3")]
    server.replies = [Reply("90"), HTML, Reply("150"), Reply("150"), *whole, BUSY, DROPPED, Reply("12"), Reply("4")]
    entries = [make_entries(3)[index] for index in (0, 2)]
    rows = judge_responses(entries, connect_judge(tmp_path / "c"), concurrency=1)
    assert [(row["status"], row["score"], row["attempts"]) for row in rows] == [
        ("ok", 90, 1), ("http_error", None, 1), ("out_of_range", None, 2), ("ok", 5, 1), ("ok", 3, 1), ("ok", 12, 3)
    ]  # fmt: skip


def test_answers_that_come_out_of_order_give_the_same_bytes(server: OllamaServer, tmp_path: Path) -> None:
    entries = make_entries(15)
    orderly = judge_responses(entries, connect_judge(tmp_path / "one"), concurrency=1)
    in_order = list(server.answered)
    server.answered.clear()
    generator = random.Random(1)
    inner = server.answer
    server.answer = lambda request: Reply(inner(request).content, delay_s=generator.uniform(0, 0.03))
    shuffled = judge_responses(entries, connect_judge(tmp_path / "eight"), concurrency=8)
    assert json.dumps(orderly) == json.dumps(shuffled)
    assert sorted(server.answered) == sorted(in_order) and server.answered != in_order
    assert statistics.fmean(count for count in server.asked.values()) == 2


def test_a_burst_of_busy_answers_costs_nothing_but_time(server: OllamaServer, tmp_path: Path) -> None:
    server.replies = [BUSY, LIMITED] * 6
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verdicts, "LONGEST_RETRY_AFTER_S", 0.01)
        rows = judge_responses(make_entries(8), connect_judge(tmp_path / "c"), concurrency=4)
    assert {row["status"] for row in rows} == {"ok", "empty"}
    assert len(server.requests) == 23 + 12


def test_nobody_asks_before_the_time_that_the_server_names(server: OllamaServer, tmp_path: Path) -> None:
    times_s: list[float] = []
    inner = server.answer

    def timed(request: dict[str, Any]) -> Reply:
        times_s.append(time.monotonic())
        return Reply(status=429, body=b"{}", headers={"Retry-After": "0.4"}) if len(times_s) <= 2 else inner(request)

    server.answer = timed
    rows = judge_responses(make_entries(4), connect_judge(tmp_path / "c"), concurrency=2)
    assert {row["status"] for row in rows} == {"ok", "empty"}
    assert times_s[2] - times_s[1] >= 0.4


def test_a_server_that_restarts_midway_costs_no_row(server: OllamaServer, tmp_path: Path) -> None:
    server.replies = [Reply("80")] * 5 + [Reply(away_s=0.3)]
    rows = judge_responses(make_entries(10), connect_judge(tmp_path / "c"), concurrency=4, patience_s=20)
    assert {row["status"] for row in rows} == {"ok", "empty"}


def test_after_a_death_the_next_run_asks_only_for_what_is_missing(server: OllamaServer, tmp_path: Path) -> None:
    entries = make_entries(12)
    fresh = judge_responses(entries, connect_judge(tmp_path / "fresh"), concurrency=4)
    server.requests.clear()
    whole, count = server.answer, 0

    def mortal(request: dict[str, Any]) -> Reply:
        nonlocal count
        count += 1
        return whole(request) if count <= 9 else DROPPED

    server.answer = mortal
    with pytest.raises(ServerGone) as gone:
        judge_responses(entries, connect_judge(tmp_path / "c"), concurrency=4, patience_s=0.2)
    assert sum(row["score"] is not None for row in gone.value.rows) == 9 + 1  # one is empty
    assert len(gone.value.rows) == 36
    server.requests.clear()
    server.answer = whole
    again = judge_responses(entries, connect_judge(tmp_path / "c"), concurrency=4)
    assert len(server.requests) == 35 - 9
    assert [row | {"attempts": 0} for row in again] == [row | {"attempts": 0} for row in fresh]
    server.requests.clear()
    assert judge_responses(entries, connect_judge(tmp_path / "c"), concurrency=4) == again
    assert not server.requests


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_hanging_server_is_given_up_after_two_timeouts(
    server: OllamaServer, tmp_path: Path, concurrency: int
) -> None:
    server.answer = lambda request: HANGS
    started_s = time.monotonic()
    with pytest.raises(ServerGone, match=r"no answer within 0\.2 s"):
        judge_responses(make_entries(20), connect_judge(tmp_path / "c", timeout_s=0.2), concurrency, patience_s=0.1)
    assert time.monotonic() - started_s < 1.0
    assert len(server.requests) <= 2 * concurrency


def test_a_slow_answer_is_given_up_and_asked_again(server: OllamaServer, tmp_path: Path) -> None:
    server.replies = [HANGS]
    rows = judge_responses(make_entries(3), connect_judge(tmp_path / "c", timeout_s=0.3), concurrency=1)
    assert {row["status"] for row in rows} == {"ok", "empty"}
    assert rows[0]["attempts"] == 2


def test_ctrl_c_ends_it_at_once_and_keeps_what_was_answered(server: OllamaServer, tmp_path: Path) -> None:
    server.answer = lambda request: Reply("80") if len(server.requests) <= 5 else HANGS
    program = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.path.insert(0, sys.argv[1])
from test_verdicts import connect_judge, make_entries, judge_responses
try:
    judge_responses(make_entries(10), connect_judge(Path(sys.argv[2])), concurrency=4)
except KeyboardInterrupt:
    sys.exit("interrupted")
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path / "c")],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}/tests/servers"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(server.requests) < 9:
        assert running.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    sent_s = time.monotonic()
    _, said = running.communicate(timeout=20)
    assert time.monotonic() - sent_s < 3
    assert (running.returncode, said.splitlines()[-1]) == (1, "interrupted")
    assert "Traceback" not in said
    assert AnswerCache(tmp_path / "c").count() == 5
