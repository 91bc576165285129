"""Whole judging runs against real local servers that misbehave: every answer gets a row, and the run comes to an end.

Every fault goes through both backends; both send a key, and the servers repeat it in their errors.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from answered import answer, answered
from ollama_server import OllamaServer
from openai_server import OpenAiServer
from scripted_server import (
    AUTHORIZATION,
    BUSY,
    CUT,
    DRIPS,
    DROPPED,
    HALF,
    HANGS,
    HTML,
    LIMITED,
    LIST_ERROR,
    NOTHING,
    PROSE,
    QUOTED,
    TOO_HIGH,
    Reply,
    ScriptedServer,
    prompt_of,
)

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.judging import verdicts
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.judges import open_judge
from scratchlm.judging.pairwise import summarise_pairs
from scratchlm.judging.prompt import PromptName
from scratchlm.judging.verdicts import Row, ServerGone, judge_responses
from scratchlm.params.schema import JudgeParams

KEY = "sk-0123456789abcdef"
TIMEOUT_S = 1.5  # where the server is slow once; elsewhere a busy machine must not look like one
SHORT_TIMEOUT_S = 0.5  # where the server is always slow, and so cannot be mistaken
PATIENCE_S = 0.3
IN_TIME_S = 15.0  # generous too; a run that is not bounded takes minutes
N_ENTRIES = 6
N_ANSWERS = len(VARIANTS) * N_ENTRIES
N_PAIRS = 2 * len(COMPARED) * N_ENTRIES  # in both orders
BASE, PREFERRED = COMPARED.values()
TELLS_THE_KEY = Reply(status=500, body=b'{"error": "bad gateway for %s"}' % AUTHORIZATION)
WAIT_A_LITTLE = replace(LIMITED, headers={"Retry-After": "0.2"})
RESTARTS = Reply(away_s=0.2)
DIES = Reply(away_s=math.inf)

PASSING = {
    "503": BUSY,
    "429": WAIT_A_LITTLE,
    "500": TELLS_THE_KEY,
    "drops": DROPPED,
    "half a body": HALF,
    "hangs": HANGS,
    "byte by byte": DRIPS,
    "restarts": RESTARTS,
}
STAYING = {
    "HTML": HTML,
    "a list": LIST_ERROR,
    "JSON cut short": Reply(body=b'{"message": {"role": "assistant", "con'),
    "JSON of something else": Reply(body=b'{"done": true, "choices": []}'),
    "JSON without a bottom": Reply(body=b"[" * 100_000),
    "400": Reply(status=400, body=b'{"error": "invalid option"}'),
    "401": Reply(status=401, body=b'{"error": {"message": "no such key: %s"}}' % AUTHORIZATION),
    "403": Reply(status=403, body=b"forbidden"),
    "404": Reply(status=404, body=b'{"error": "model gone"}'),
}
SLOW = (HANGS, DRIPS)
# A server that restarts drops whatever it was asked at that moment; where the time is short, a busy machine may be too
# slow for other questions too, or for one twice.
MAY_COST_MORE = (*SLOW, RESTARTS)


@dataclass
class Run:
    """A server, and how to judge with it: `judge()` is one run of the stage's part, with a cache that outlives it."""

    server: ScriptedServer
    name: str
    cache_path: Path

    def judge(self, prompt: PromptName = "book", concurrency: int = 4, pairwise: bool = False) -> list[Row]:
        settings = JudgeParams(
            judges=[self.name],
            prompt=prompt,
            pairwise=pairwise,
            temperature=0.0,
            num_ctx=2048,
            max_answer_tokens=256,
            probes=0,
            min_coverage=0.9,
        )
        with AnswerCache(self.cache_path) as cache:
            judge = open_judge(self.name, settings, 123, cache)
            return judge_responses(entries(), judge, concurrency, PATIENCE_S, pairwise)

    def compare(self, concurrency: int = 4) -> list[Row]:
        """Judge with pairs, see that the answers' rows are those of a run without, and return the pairs' rows."""
        rows = self.judge(concurrency=concurrency, pairwise=True)
        assert_rows_complete(rows[:N_ANSWERS])
        assert_pairs_complete(rows[N_ANSWERS:])
        return rows[N_ANSWERS:]

    def gives_up(self, pairwise: bool = False) -> ServerGone:
        """Judge, and return what says that the server is gone."""
        with pytest.raises(ServerGone) as gone:
            self.judge(pairwise=pairwise)
        return gone.value


@pytest.fixture(params=[OllamaServer, OpenAiServer], ids=["ollama", "openai"])
def run(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Run]:
    monkeypatch.setattr(verdicts, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(verdicts, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)  # which the client sends without being told
    caplog.set_level("DEBUG")
    with request.param() as server:
        if isinstance(server, OpenAiServer):
            server.key = KEY
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            name = "openai:tiny"
        else:
            monkeypatch.setenv("OLLAMA_HOST", server.host)
            name = "ollama:llama3"
        yield Run(server, name, tmp_path / "answers.sqlite")
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err + caplog.text
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())


def entries() -> list[dict[str, Any]]:
    return [
        answered(number, f"<base {number}>", f"<assistant {number}>", f"<the preferred {number}>")
        for number in range(N_ENTRIES)
    ]


def fails_at(response: str, fault: Reply, times: float = math.inf) -> Callable[[dict[str, Any]], Reply]:
    """Answer one response's prompt with a fault, so many times, and everything else with 85."""
    left = [times]

    def answer(request: dict[str, Any]) -> Reply:
        if response in prompt_of(request) and left[0] > 0:
            left[0] -= 1
            return fault
        return Reply()

    return answer


def assert_rows_complete(rows: list[Row]) -> None:
    """A row for every answer, in order, and nothing secret in any."""
    identities = [(row["id"], row["variant"]) for row in rows]
    assert identities == [(number, variant) for number in range(N_ENTRIES) for variant in VARIANTS]
    assert all((row["score"] is None) != (row["status"] in ("ok", "empty")) for row in rows)
    assert all(bool(row["reason"]) == (row["score"] is None) and "\n" not in row["reason"] for row in rows)
    assert max(len(row["reason"]) for row in rows) <= 1000
    assert KEY not in json.dumps(rows)


def times_asked(run: Run, response: str) -> int:
    return sum(count for prompt, count in run.server.asked.items() if response in prompt)


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_no_score_and_one_more_question(
    run: Run, fault: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault in SLOW:
        monkeypatch.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", str(TIMEOUT_S))
    run.server.answer = fails_at("<base 2>", fault, times=1)
    started_s = time.monotonic()
    rows = run.judge()
    assert time.monotonic() - started_s < IN_TIME_S
    assert_rows_complete(rows)
    assert {(row["status"], row["score"]) for row in rows} == {("ok", 85.0)}
    attempts = {entries()[row["id"]][row["variant"]]["text"]: row["attempts"] for row in rows}
    assert attempts["<base 2>"] >= 2 or fault is RESTARTS
    for response, count in attempts.items():
        if fault in MAY_COST_MORE:  # while it is away it hears nothing
            assert 1 <= times_asked(run, response) <= count
        else:
            assert times_asked(run, response) == count == (2 if response == "<base 2>" else 1)


@pytest.mark.parametrize("fault", STAYING.values(), ids=STAYING)
def test_a_fault_that_stays_is_asked_once_and_costs_its_own_answer_alone(run: Run, fault: Reply) -> None:
    run.server.answer = fails_at("<base 2>", fault)
    rows = run.judge()
    assert_rows_complete(rows)
    assert [row["id"] for row in rows if row["status"] != "ok"] == [2]
    assert (rows[6]["status"], rows[6]["attempts"]) == ("http_error", 1)
    assert set(run.server.asked.values()) == {1} and len(run.server.requests) == len(rows)


def test_a_prompt_that_always_breaks_its_server_costs_its_own_answer_alone_in_every_run(run: Run) -> None:
    run.server.answer = fails_at("<base 2>", BUSY)
    for _ in range(3):  # later ones ask for nothing else, and nothing else tells that the server is alive
        rows = run.judge()
        assert_rows_complete(rows)
        assert [row["status"] for row in rows] == ["ok"] * 6 + ["http_error"] + ["ok"] * 11


def test_several_prompts_that_always_break_their_server_cost_their_own_answers_alone(run: Run) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        return BUSY if any(poison in prompt_of(request) for poison in ("<base 2>", "<assistant 4>")) else Reply()

    run.server.answer = answer
    for concurrency in (1, 4):  # one by one, the round ends before the second of them is asked
        rows = run.judge(concurrency=concurrency)
        assert_rows_complete(rows)
        assert [index for index, row in enumerate(rows) if row["status"] != "ok"] == [6, 13]


@pytest.mark.parametrize(
    ("reply", "status", "score", "asked"),
    [
        (PROSE, "ok", 85, 1),
        (QUOTED, "ok", 85, 1),
        (TOO_HIGH, "out_of_range", None, 2),
        (NOTHING, "parse_error", None, 2),
        (Reply("Great answer!"), "parse_error", None, 2),
        (CUT, "truncated", None, 1),
        (Reply("85", prompt_eval_count=2048), "truncated", None, 1),
        (Reply("85", prompt_eval_count=None), "ok", 85, 1),
        (Reply("85", prompt_eval_count=10**30, eval_count=-1), "ok", 85, 1),
        (Reply(", ".join(map(str, range(2000)))), "parse_error", None, 2),
    ],
    ids=["prose", "quoted", "150", "nothing", "words", "cut", "prompt cut", "no counts", "counts of nothing", "a book"],
)
def test_what_the_judge_says_becomes_its_rows_status(
    run: Run, reply: Reply, status: str, score: float | None, asked: int
) -> None:
    run.server.answer = fails_at("<assistant 3>", reply)
    rows = run.judge()
    assert_rows_complete(rows)
    assert (rows[10]["status"], rows[10]["score"], rows[10]["raw"]) == (status, score, reply.content)
    assert times_asked(run, "<assistant 3>") == rows[10]["attempts"] == asked
    assert set(run.server.asked.values()) == {1}  # a second question is another prompt
    assert {row["status"] for row in rows if row is not rows[10]} == {"ok"}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_server_that_does_nothing_else_is_given_up_with_a_row_for_every_answer(
    run: Run, fault: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault in SLOW:
        monkeypatch.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", str(SHORT_TIMEOUT_S))
    run.server.answer = lambda request: fault
    started_s = time.monotonic()
    gone = run.gives_up()
    assert PATIENCE_S <= time.monotonic() - started_s < IN_TIME_S
    assert_rows_complete(gone.rows)
    assert {row["status"] for row in gone.rows} == {"http_error"}
    assert max(run.server.asked.values()) < 40  # waits that grow, not a loop that hammers
    message = str(gone)
    assert run.name in message and f"0 of {N_ANSWERS} answers have a score" in message and KEY not in message


@pytest.mark.parametrize("n_answered", [0, 1, 5, 17])
def test_a_run_that_follows_a_dead_server_asks_only_for_what_is_missing(run: Run, n_answered: int) -> None:
    run.server.replies = [Reply()] * n_answered
    run.server.answer = lambda request: DIES
    gone = run.gives_up()
    assert_rows_complete(gone.rows)
    done = {(row["id"], row["variant"]) for row in gone.rows if row["score"] is not None}
    # The questions that were under way when it died may have been answered and not heard.
    assert n_answered - 3 <= len(done) <= n_answered
    run.server.requests.clear()
    run.server.answer = lambda request: Reply()
    run.server.start()
    rows = run.judge()
    assert_rows_complete(rows)
    assert {row["status"] for row in rows} == {"ok"}
    assert len(run.server.requests) == len(rows) - len(done)
    for row in rows:
        response = entries()[row["id"]][row["variant"]]["text"]
        assert times_asked(run, response) == ((row["id"], row["variant"]) not in done)
    run.server.requests.clear()
    assert run.judge() == rows
    assert not run.server.requests


def test_answers_out_of_order_give_the_rows_of_one_after_the_other(run: Run, tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        number = sum(map(ord, prompt_of(request))) % 100
        return Reply(str(number), delay_s=0.2 if "<base" in prompt_of(request) else 0.0)

    run.server.answer = answer
    rows = run.judge(concurrency=N_ANSWERS)
    answered = run.server.answered
    assert answered != [prompt_of(request) for request in run.server.requests]
    assert [("<base" in prompt) for prompt in answered] == [False] * 2 * N_ENTRIES + [True] * N_ENTRIES
    assert len({row["score"] for row in rows}) > 5
    run.server.answer = lambda request: replace(answer(request), delay_s=0.0)
    alone = Run(run.server, run.name, tmp_path / "other.sqlite").judge(concurrency=1)
    assert json.dumps(rows) == json.dumps(alone)


def test_the_rubrics_schema_reaches_a_strict_server_and_its_json_is_read(run: Run) -> None:
    run.server.answer = lambda request: Reply('{"reason": "Nearly.",\n "level": 4}')
    rows = run.judge("rubric")
    assert_rows_complete([{**row, "reason": ""} for row in rows])
    assert {(row["status"], row["score"], row["reason"]) for row in rows} == {("ok", 75.0, "Nearly.")}
    assert all("format" in request or "response_format" in request for request in run.server.requests)


# From here on with pairs: the book's question about each answer, and a question about each pair in each order.

A_WINS = '{"reason": "It is right.", "verdict": "A"}'


def prefer(choose: Callable[[str, str], str]) -> Callable[[dict[str, Any]], Reply]:
    """Answer a pair's prompt with the verdict that `choose` gives of A and B, and every other prompt with 85."""

    def answer(request: dict[str, Any]) -> Reply:
        shown = re.findall(r"<answer-[AB]-\w+>\n(.*?)\n</answer-", prompt_of(request), re.DOTALL)
        if not shown:
            return Reply()
        return Reply(json.dumps({"reason": "So it is.", "verdict": choose(*shown)}))

    return answer


def prefer_longer(first: str, second: str) -> str:
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def fails_where(
    number: int, first: str, second: str, fault: Reply, times: float = math.inf
) -> Callable[[dict[str, Any]], Reply]:
    """Answer one order of one pair with a fault, so many times, and everything else as one who prefers the longer."""
    left = [times]

    def answer(request: dict[str, Any]) -> Reply:
        shown = rf"<answer-A-\w+>\n<{first} {number}>.*<answer-B-\w+>\n<{second} {number}>"
        if re.search(shown, prompt_of(request), re.DOTALL) and left[0] > 0:
            left[0] -= 1
            return fault
        return prefer(prefer_longer)(request)

    return answer


def assert_pairs_complete(rows: list[Row]) -> None:
    """A row for every pair in both orders, in order, and nothing secret in any."""
    assert [(row["id"], row["variant"], row["other"]) for row in rows] == [
        (number, *order) for pair in COMPARED.values() for number in range(N_ENTRIES) for order in (pair, pair[::-1])
    ]
    for row in rows:
        winners = {None: None, 100.0: row["variant"], 50.0: "tie", 0.0: row["other"]}
        assert row["winner"] == winners[row["score"]]
        assert (row["score"] is None) != (row["status"] in ("ok", "equal"))
        assert row["reason"] and "\n" not in row["reason"]
    assert KEY not in json.dumps(rows)


def test_both_orders_of_every_pair_are_asked_once_and_the_answers_themselves_as_ever(run: Run) -> None:
    run.server.answer = prefer(prefer_longer)
    rows = run.judge(pairwise=True)
    assert rows[:N_ANSWERS] == run.judge()
    pairs = rows[N_ANSWERS:]
    assert_pairs_complete(pairs)
    assert set(run.server.asked.values()) == {1} and len(run.server.requests) == N_ANSWERS + N_PAIRS == 7 * N_ENTRIES
    assert [row["winner"] for row in pairs] == ["assistant"] * 2 * N_ENTRIES + ["preferred"] * 2 * N_ENTRIES
    assert {(row["status"], row["prompt"], row["reason"]) for row in pairs} == {("ok", "pairwise", "So it is.")}
    for number in range(N_ENTRIES):
        for response, n_comparisons in ((f"<base {number}>", 1), (f"<assistant {number}>", 2)):
            asked = [prompt for prompt in run.server.asked if response in prompt and "<answer-A" in prompt]
            places = sorted(re.findall(rf"<answer-([AB])-\w+>\n{response}", prompt)[0] for prompt in asked)
            assert places == ["A"] * n_comparisons + ["B"] * n_comparisons
    forms = [request.get("format") or request.get("response_format") for request in run.server.requests]
    assert sum(form is not None for form in forms) == N_PAIRS
    for compared in COMPARED.values():
        found = summarise_pairs(pairs, compared, 123)
        assert (found["win_rate"], found["wins"], found["n"], found["order_decided"]) == (100, 6, 6, 0)
    run.server.requests.clear()
    assert run.judge(pairwise=True) == rows and not run.server.requests


def test_a_judge_that_always_takes_the_first_answer_makes_ties_alone(run: Run) -> None:
    run.server.answer = prefer(lambda first, second: "A")
    pairs = run.compare()
    assert all(row["winner"] == row["variant"] for row in pairs)
    for compared in COMPARED.values():
        found = summarise_pairs(pairs, compared, 123)
        assert (found["win_rate"], found["ties"], found["order_decided"], found["first_preferred"]) == (50, 6, 100, 100)


def test_two_equal_answers_are_a_tie_for_which_nobody_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = entries()
    changed[1]["base"] = changed[1]["assistant"]
    changed[2]["base"] = changed[2]["assistant"] = answer("")
    changed[3]["base"] = answer("")
    changed[4]["preferred"] = changed[4]["assistant"]
    monkeypatch.setitem(globals(), "entries", lambda: changed)
    run.server.answer = prefer(prefer_longer)
    pairs = run.judge(pairwise=True)[N_ANSWERS:]
    assert_pairs_complete(pairs)
    free = [row for row in pairs if row["status"] == "equal"]
    assert [(row["id"], row["variant"]) for row in free] == [
        *[(number, variant) for number in (1, 2) for variant in BASE],
        *[(4, variant) for variant in PREFERRED],
    ]
    assert {(row["winner"], row["attempts"], row["reason"]) for row in free} == {
        ("tie", 0, "both answers are the same text")
    }
    assert {row["status"] for row in pairs if row not in free} == {"ok"}  # one empty answer is asked about
    assert sum("<answer-A" in prompt for prompt in run.server.asked) == N_PAIRS - 6
    found = summarise_pairs(pairs, BASE, 123)
    assert (found["equal"], found["wins"], found["ties"], found["coverage"]) == (2, 4, 2, 1)
    found = summarise_pairs(pairs, PREFERRED, 123)
    assert (found["equal"], found["wins"], found["ties"], found["coverage"]) == (1, 5, 1, 1)


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_no_verdict_of_a_pair(
    run: Run, fault: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault in SLOW:
        monkeypatch.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", str(TIMEOUT_S))
    run.server.answer = fails_where(2, "assistant", "base", fault, times=1)
    pairs = run.compare()
    assert {(row["status"], row["winner"]) for row in pairs} == {("ok", "assistant"), ("ok", "preferred")}
    assert pairs[5]["attempts"] == 2 or fault in MAY_COST_MORE
    assert pairs[5]["attempts"] >= 2 or fault is RESTARTS


@pytest.mark.parametrize("fault", STAYING.values(), ids=STAYING)
def test_a_fault_that_stays_costs_its_own_pair_alone(run: Run, fault: Reply) -> None:
    run.server.answer = fails_where(2, "assistant", "base", fault)
    pairs = run.compare()
    assert [index for index, row in enumerate(pairs) if row["status"] != "ok"] == [5]
    assert (pairs[5]["status"], pairs[5]["winner"], pairs[5]["attempts"]) == ("http_error", None, 1)
    found = summarise_pairs(pairs, BASE, 123)
    assert (found["n"], found["n_judged"], found["wins"], found["coverage"]) == (6, 5, 5, 11 / 12)
    assert summarise_pairs(pairs, PREFERRED, 123)["coverage"] == 1


@pytest.mark.parametrize(
    ("reply", "status", "winner", "asked"),
    [
        (Reply("Surely:\n" + A_WINS), "ok", "base", 1),
        (Reply("Verdict: B"), "ok", "assistant", 2),
        (Reply('{"reason": "Well.", "verdict": "C"}'), "parse_error", None, 2),
        (Reply("Great answers!"), "parse_error", None, 2),
        (NOTHING, "parse_error", None, 2),
        (Reply('{"reason": "It is ri', done_reason="length", eval_count=256), "truncated", None, 1),
        (Reply(A_WINS, prompt_eval_count=2048), "truncated", None, 1),
    ],
    ids=["prose around", "prose", "C", "words", "nothing", "cut", "prompt cut"],
)
def test_what_the_judge_says_of_a_pair_becomes_its_rows_status(
    run: Run, reply: Reply, status: str, winner: str | None, asked: int
) -> None:
    run.server.answer = fails_where(3, "base", "assistant", reply)
    rows = run.judge(pairwise=True)[N_ANSWERS:]
    assert (rows[6]["status"], rows[6]["winner"], rows[6]["raw"]) == (status, winner, reply.content)
    assert rows[6]["attempts"] == asked and set(run.server.asked.values()) == {1}
    assert {row["status"] for row in rows if row is not rows[6]} == {"ok"}


@pytest.mark.parametrize("n_answered", [0, 5, 18, 35])
def test_a_run_with_pairs_that_follows_a_dead_server_asks_only_for_what_is_missing(run: Run, n_answered: int) -> None:
    judges = prefer(prefer_longer)
    run.server.answer = lambda request: judges(request) if len(run.server.requests) <= n_answered else DIES
    gone = run.gives_up(pairwise=True)
    assert_rows_complete(gone.rows[:N_ANSWERS])
    assert_pairs_complete(gone.rows[N_ANSWERS:])
    assert f"of {N_ANSWERS + N_PAIRS} questions have a score" in str(gone)
    n_done = sum(row["score"] is not None for row in gone.rows)
    assert n_answered - 3 <= n_done <= n_answered
    run.server.requests.clear()
    run.server.answer = judges
    run.server.start()
    assert {row["winner"] for row in run.compare()} == {"assistant", "preferred"}
    assert len(run.server.requests) == N_ANSWERS + N_PAIRS - n_done


def test_pairs_out_of_order_give_the_rows_of_one_after_the_other(run: Run, tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        said = prefer(lambda first, second: ("A", "B", "tie")[sum(map(ord, first)) % 3])(request)
        return replace(said, delay_s=0.02 * (sum(map(ord, prompt_of(request))) % 5))

    run.server.answer = answer
    pairs = run.compare(concurrency=8)
    assert {row["winner"] for row in pairs} == {*VARIANTS, "tie"}
    alone = Run(run.server, run.name, tmp_path / "other.sqlite").compare(concurrency=1)
    assert json.dumps(pairs) == json.dumps(alone)
