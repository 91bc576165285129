"""The LLM judge: which questions it asks, which words count, what is cached, and both backends over real HTTP."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ollama_server import OllamaServer
from openai_server import OpenAiServer
from scripted_server import BUSY, CUT, DRIPS, HALF, HTML, PROSE, QUOTED, TOO_HIGH, Reply, ScriptedServer

from scratchlm.assistant.instructions import format_task
from scratchlm.judging import judges
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.client import BackendError, Completion, TooSlow
from scratchlm.judging.judges import LlmJudge
from scratchlm.judging.prompt import PromptName, load_prompt
from scratchlm.judging.verdicts import Question, Verdict
from scratchlm.params.schema import JudgeParams

ENTRY = {"id": 7, "instruction": "Name a fruit.", "input": "red", "output": "An apple."}
AWAY = BackendError("refused", worth_retrying=True)


@dataclass
class ScriptedBackend:
    """Gives the answers it was given, in order, or raises them."""

    answers: list[str | Completion | Exception | Callable[[], str]]
    questions: list[str] = field(default_factory=list)
    schemas: list[Mapping[str, Any] | None] = field(default_factory=list)
    kind: str = "ollama"
    model: str = "llama3"
    model_digest: str | None = "abc"
    options: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, prompt: str, schema: Mapping[str, Any] | None) -> Completion:
        self.questions.append(prompt)
        self.schemas.append(schema)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer()
        return Completion(answer, "stop", 100, 3) if isinstance(answer, str) else answer


class Asked(LlmJudge):
    """A judge that is asked about one answer to ENTRY at a time; `asked` is how many completions it got for it."""

    def score(self, response: str, verdict: Verdict | None = None) -> SimpleNamespace:
        verdict = verdict or Verdict("assistant", ENTRY, response)
        asked = self.judge(verdict)
        return SimpleNamespace(**vars(verdict), asked=asked)

    def recall(self, response: str) -> SimpleNamespace | None:
        verdict = Verdict("assistant", ENTRY, response)
        asked = self.judge(verdict, may_ask=False)
        return None if isinstance(asked, Question) else SimpleNamespace(**vars(verdict), asked=asked)


def make_judge(backend: ScriptedBackend, cache: AnswerCache, prompt: PromptName = "book", num_ctx: int = 2048) -> Asked:
    return Asked(backend, load_prompt(prompt), cache, num_ctx=num_ctx)


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "answers.sqlite")


def test_the_books_prompt_is_asked_and_its_number_is_the_score(cache: AnswerCache) -> None:
    backend = ScriptedBackend(["The score is 85, I think."])
    verdict = make_judge(backend, cache).score("A cherry.")
    (question,) = backend.questions
    assert question.startswith(f"Given the input `{format_task(ENTRY, 'alpaca')}`")  # type: ignore[arg-type]
    assert "`A cherry.`" in question
    assert (verdict.status, verdict.score, verdict.reason, verdict.raw) == ("ok", 85.0, "", "The score is 85, I think.")
    assert (verdict.prompt, verdict.prompt_sha256) == ("book", hashlib.sha256(question.encode()).hexdigest())
    assert (verdict.attempts, verdict.asked, verdict.failure) == (1, 1, None)
    assert backend.schemas == [None]


def test_the_rubric_asks_for_its_schema_and_keeps_the_judges_reason(cache: AnswerCache) -> None:
    backend = ScriptedBackend(['{"reason": "Almost.", "level": 4}'])
    verdict = make_judge(backend, cache, "rubric").score("A cherry.")
    assert (verdict.status, verdict.score, verdict.reason, verdict.prompt) == ("ok", 75, "Almost.", "rubric")
    assert backend.schemas == [load_prompt("rubric").schema]


@pytest.mark.parametrize("response", ["", " \n\t"])
def test_an_empty_response_scores_0_without_asking(cache: AnswerCache, response: str) -> None:
    verdict = make_judge(ScriptedBackend([]), cache).score(response)
    assert (verdict.status, verdict.score, verdict.attempts, verdict.asked) == ("empty", 0, 0, 0)


@pytest.mark.parametrize(
    ("prompt", "answers", "status", "score", "raw"),
    [
        ("book", ["Good!", "85"], "ok", 85, "85"),
        ("book", ["150", "85"], "ok", 85, "85"),
        ("book", ["Good!", "Very good!"], "parse_error", None, "Very good!"),
        ("book", ["Good!", "150"], "out_of_range", None, "150"),
        ("rubric", ["Fine.", '{"reason": "", "level": 2}'], "ok", 25, '{"reason": "", "level": 2}'),
        ("rubric", ["Fine.", "Level: 4"], "ok", 75, "Level: 4"),
        ("rubric", ["Level: 4", "Fine."], "ok", 75, "Level: 4"),
        ("rubric", ["Fine.", "Fine!"], "parse_error", None, "Fine!"),
        ("rubric", ['{"level": 9}', '{"level": 9}'], "out_of_range", None, '{"level": 9}'),
    ],
)
def test_words_without_a_score_are_asked_about_once_more_and_then_read_leniently(
    cache: AnswerCache, prompt: PromptName, answers: list[Any], status: str, score: float | None, raw: str
) -> None:
    backend = ScriptedBackend(list(answers))
    verdict = make_judge(backend, cache, prompt).score("A cherry.")
    assert (verdict.status, verdict.score, verdict.raw) == (status, score, raw)
    assert (verdict.attempts, verdict.asked) == (2, 2)
    first, second = backend.questions
    assert second == f"{first}\n\n{load_prompt(prompt).reminder}"
    assert verdict.prompt_sha256 == hashlib.sha256(first.encode()).hexdigest()
    again = make_judge(ScriptedBackend([]), cache, prompt).score("A cherry.")
    assert (again.status, again.score, again.raw, again.attempts, again.asked) == (status, score, raw, 2, 0)


LONG = "word " * 1500


@pytest.mark.parametrize(
    ("response", "answer", "status"),
    [
        ("A cherry.", Completion("85", "stop", 2047, 3), "ok"),
        ("A cherry.", Completion("85", "stop", 2048, 3), "truncated"),
        ("A cherry.", Completion("85", "stop", None, 3), "ok"),
        ("A cherry.", Completion("85", "stop", 5, 3), "ok"),  # a server that counts only what it did not remember
        (LONG, Completion("85", "stop", 1900, 3), "ok"),
        (LONG, Completion("85", "stop", 1024, 3), "truncated"),  # half of it was dropped
        (LONG, Completion("85", "stop", None, 3), "ok"),
        (LONG * 2, Completion("85", "stop", None, 3), "truncated"),
        ("A cherry.", Completion('{"score": 8', "length", 100, 256), "truncated"),
        ("A cherry.", Completion("85", "other", 100, 256), "ok"),
    ],
)
def test_what_was_cut_has_no_score_and_is_not_asked_again(
    cache: AnswerCache, response: str, answer: Completion, status: str
) -> None:
    backend = ScriptedBackend([answer])
    verdict = make_judge(backend, cache).score(response)
    assert (verdict.status, verdict.score is None, verdict.raw) == (status, status == "truncated", answer.text)
    if answer.finish == "length":
        assert verdict.reason == "the judge's answer was cut after 256 tokens (judge.max_answer_tokens)"
    elif status == "truncated":
        assert "does not fit into the 2048 tokens of judge.num_ctx" in verdict.reason


def test_what_was_asked_once_is_never_asked_again_and_its_row_is_the_same(cache: AnswerCache, tmp_path: Path) -> None:
    backend = ScriptedBackend([AWAY, AWAY, "85"])
    judge = make_judge(backend, cache)
    assert [judge.score("A cherry.").attempts for _ in range(2)] == [1, 2]
    fresh = judge.score("A cherry.")
    cache.close()
    cached = make_judge(ScriptedBackend([]), AnswerCache(tmp_path / "answers.sqlite")).score("A cherry.")
    assert (fresh.attempts, fresh.asked, cached.asked) == (3, 1, 0)
    assert vars(fresh) == vars(cached) | {"asked": 1}


def test_what_needs_no_question_is_recalled(cache: AnswerCache) -> None:
    backend = ScriptedBackend(["Good!", AWAY, "85"])
    judge = make_judge(backend, cache)
    assert judge.recall("A cherry.") is None and not backend.questions
    judge.score("A cherry.")
    assert judge.recall("A cherry.") is None  # the reminder is still to be answered
    verdict = judge.score("A cherry.")
    assert len(backend.questions) == 3
    assert judge.recall("A cherry.") == SimpleNamespace(**vars(verdict) | {"asked": 0})
    empty = judge.recall(" ")
    assert empty is not None and empty.status == "empty"


def test_a_failure_keeps_its_reason_and_is_not_cached(cache: AnswerCache) -> None:
    refused = BackendError("HTTP 400: no", worth_retrying=False)
    judge = make_judge(ScriptedBackend([refused, "85"]), cache)
    verdict = judge.score("A cherry.")
    assert (verdict.status, verdict.score, verdict.reason) == ("http_error", None, "HTTP 400: no")
    assert verdict.failure is refused and verdict.prompt_sha256 is not None
    assert judge.score("A cherry.").score == 85


def test_a_failure_of_the_second_question_does_not_cost_the_first(cache: AnswerCache) -> None:
    backend = ScriptedBackend(["Good!", AWAY, "85"])
    judge = make_judge(backend, cache)
    failed = judge.score("A cherry.")
    assert (failed.status, failed.raw, failed.attempts, failed.asked) == ("http_error", "Good!", 2, 1)
    verdict = judge.score("A cherry.")
    assert (verdict.score, verdict.attempts, len(backend.questions)) == (85, 3, 3)


def test_two_who_want_the_same_answer_at_once_ask_for_it_once(cache: AnswerCache) -> None:
    begun = threading.Event()

    def slowly() -> str:
        begun.set()
        time.sleep(0.1)
        return "85"

    backend = ScriptedBackend([slowly])
    judge = make_judge(backend, cache)
    verdicts: list[SimpleNamespace] = []
    first = threading.Thread(target=lambda: verdicts.append(judge.score("A cherry.")))
    first.start()
    assert begun.wait(5)
    second = judge.score("A cherry.")
    first.join()
    assert (second.score, second.asked, verdicts[0].asked, len(backend.questions)) == (85, 0, 1, 1)


def test_half_a_character_does_not_end_the_run(cache: AnswerCache, tmp_path: Path) -> None:
    backend = ScriptedBackend(["\ud800 85"])
    assert make_judge(backend, cache).score("A cherry.").raw == "? 85"
    assert AnswerCache(tmp_path / "answers.sqlite").count() == 1


def test_a_defect_is_not_taken_for_a_fault_of_the_server(cache: AnswerCache) -> None:
    with pytest.raises(ZeroDivisionError):
        make_judge(ScriptedBackend([ZeroDivisionError()]), cache).score("A cherry.")


def test_a_changed_parser_reads_the_same_words_without_a_question(cache: AnswerCache) -> None:
    make_judge(ScriptedBackend(["75, or 80", "75, or 80"]), cache).score("A cherry.")
    prompt = load_prompt("book")
    first_number = type(prompt)(
        **{**vars(prompt), "parse": lambda raw, leniently: prompt.parse(raw.partition(",")[0], leniently)}
    )
    judge = Asked(ScriptedBackend([]), first_number, cache, num_ctx=2048)
    assert judge.score("A cherry.").score == 75


@pytest.fixture(params=["ollama", "openai"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    with OllamaServer() if request.param == "ollama" else OpenAiServer() as running:
        monkeypatch.setenv("OLLAMA_HOST", running.host)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.host}/v1")
        yield running


def judge_once(server: ScriptedServer, cache: AnswerCache, timeout_s: str = "20") -> Verdict:
    name = "ollama:llama3" if isinstance(server, OllamaServer) else "openai:tiny"
    settings = JudgeParams(
        judges=[name],
        prompt="book",
        pairwise=False,
        temperature=0,
        num_ctx=2048,
        max_answer_tokens=256,
        probes=0,
        min_coverage=1,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", timeout_s)
        verdict = Verdict("assistant", ENTRY, "A cherry.")
        judges.open_judge(name, settings, 123, cache).judge(verdict)
        return verdict


@pytest.mark.parametrize(
    ("replies", "status", "score", "n_requests"),
    [
        ([Reply("85")], "ok", 85, 1),
        ([PROSE], "ok", 85, 1),
        ([QUOTED], "ok", 85, 1),
        ([TOO_HIGH, TOO_HIGH], "out_of_range", None, 2),
        ([CUT], "truncated", None, 1),
        ([BUSY], "http_error", None, 1),
        ([HALF], "http_error", None, 1),
        ([HTML], "http_error", None, 1),
        ([Reply("Good!"), Reply("Good!")], "parse_error", None, 2),
    ],
)
def test_each_answer_of_a_real_server_becomes_its_status(
    server: ScriptedServer, cache: AnswerCache, replies: list[Reply], status: str, score: float | None, n_requests: int
) -> None:
    server.replies = list(replies)
    verdict = judge_once(server, cache)
    assert (verdict.status, verdict.score) == (status, score)
    assert len(server.requests) == n_requests


def test_a_server_that_sends_byte_by_byte_is_given_up_in_time(server: ScriptedServer, cache: AnswerCache) -> None:
    server.replies = [DRIPS]
    started_s = time.monotonic()
    verdict = judge_once(server, cache, timeout_s="0.3")
    assert isinstance(verdict.failure, TooSlow) and verdict.failure.worth_retrying
    assert time.monotonic() - started_s < 2


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan", ""])
def test_a_timeout_that_is_no_time_is_refused(server: ScriptedServer, cache: AnswerCache, text: str) -> None:
    with pytest.raises(
        ValueError, match=r"SCRATCHLM_JUDGE_TIMEOUT_S is .*wanted a number of seconds above 0, such as 120"
    ):
        judge_once(server, cache, timeout_s=text)
