"""The Ollama judge through the real client against a real local server, with the faults such servers have."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ollama_server import BUSY, DROPPED, HALF, HTML, OllamaServer, Reply, digest_of, unused_host

from scratchlm.errors import InputError
from scratchlm.instructions import Entry, format_task
from scratchlm.judging import book_prompt, ollama_judge
from scratchlm.judging.ollama_judge import ATTEMPTS, OllamaJudge, connect
from scratchlm.judging.verdicts import judge_responses

REPOSITORY = Path(__file__).parents[2]

ENTRY = {"id": 7, "instruction": "Name a fruit.", "input": "red", "output": "An apple."}


def show_task(entry: Entry) -> str:
    return format_task(entry, "alpaca")


def connect_judge(model: str = "llama3") -> OllamaJudge:
    return connect(model, temperature=0, num_ctx=2048, seed=123, format_task=show_task)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    monkeypatch.setattr(ollama_judge, "FIRST_WAIT_S", 0.001)
    with OllamaServer() as running:
        monkeypatch.setenv("OLLAMA_HOST", running.host)
        yield running


def test_it_asks_the_books_prompt_once_with_its_options_inside_options(server: OllamaServer) -> None:
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    prompt = book_prompt.render(show_task(ENTRY), "An apple.", "A cherry.")
    (request,) = server.requests
    assert request["messages"] == [{"role": "user", "content": prompt}]
    assert (request["model"], request["stream"], request["think"]) == ("llama3", False, False)
    options = request["options"]
    assert (options["seed"], options["temperature"], options["num_ctx"]) == (123, 0, 2048)
    assert (verdict.status, verdict.score, verdict.raw, verdict.attempts) == ("ok", 85, "85", 1)
    assert verdict.prompt_sha256 == hashlib.sha256(prompt.encode()).hexdigest()


@pytest.mark.parametrize(
    ("reply", "status", "score", "reason"),
    [
        (Reply("The score is 85, I think."), "ok", 85, ""),
        (Reply('"85"'), "ok", 85, ""),
        (Reply("150"), "out_of_range", None, "150 is not from 0 to 100"),
        (Reply("Good, 3 of 4: 75"), "parse_error", None, "several numbers"),
        (Reply(""), "parse_error", None, "no number"),
        (Reply('{"score": 8', done_reason="length", eval_count=256), "truncated", None, "after 256 tokens"),
        (Reply(prompt_eval_count=2048), "truncated", None, "num_ctx"),
        (Reply(prompt_eval_count=2047), "ok", 85, ""),
        (Reply(prompt_eval_count=None), "ok", 85, ""),
    ],
)
def test_each_answer_of_the_judge_becomes_its_status(
    server: OllamaServer, reply: Reply, status: str, score: float | None, reason: str
) -> None:
    server.replies = [reply]
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    assert (verdict.status, verdict.score, verdict.raw) == (status, score, reply.content)
    assert reason in verdict.reason and bool(reason) == bool(verdict.reason)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [BUSY, Reply(status=429, body=b'{"error": "slow down"}'), Reply(status=500, body=b"oops"), DROPPED, HALF],
)
def test_a_fault_that_passes_is_asked_again(server: OllamaServer, fault: Reply) -> None:
    server.replies = [fault, fault]
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    assert (verdict.status, verdict.score, verdict.attempts) == ("ok", 85, 3)
    assert len(server.requests) == 3


def test_a_slow_answer_is_given_up_and_asked_again(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", "0.2")
    server.replies = [Reply(delay_s=30)]
    started_s = time.monotonic()
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    assert (verdict.status, verdict.attempts) == ("ok", 2)
    assert time.monotonic() - started_s < 10


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Reply(status=400, body=b'{"error": "invalid options"}'), "invalid options"),
        (Reply(status=404, body=b'{"error": "model gone"}'), "404"),
        (Reply(status=403, body=b"forbidden"), "403"),
        (Reply(status=400, body=b'["a list"]'), "AttributeError"),
        (Reply(body=b'["a list"]'), "TypeError"),
        (Reply(body=b'{"message": {"role": "assistant", "con'), "JSONDecodeError"),
        (Reply(body=b'{"done": true}'), "message"),
        (HTML, "JSONDecodeError"),
    ],
)
def test_a_fault_that_stays_is_asked_once_and_becomes_a_row(server: OllamaServer, fault: Reply, reason: str) -> None:
    server.replies = [fault]
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    assert (verdict.status, verdict.score, verdict.attempts) == ("http_error", None, 1)
    assert reason in verdict.reason and "\n" not in verdict.reason
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_four_times_and_no_more(server: OllamaServer) -> None:
    server.replies = [BUSY] * 10
    verdict = connect_judge().judge(ENTRY, "A cherry.")
    assert (verdict.status, verdict.attempts) == ("http_error", ATTEMPTS)
    assert "server busy" in verdict.reason and "503" in verdict.reason
    assert len(server.requests) == ATTEMPTS == 4


def test_the_waits_double_with_jitter(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s: list[float] = []
    monkeypatch.setattr(ollama_judge, "FIRST_WAIT_S", 0.5)
    monkeypatch.setattr("tenacity.nap.time.sleep", waits_s.append)
    server.replies = [BUSY] * ATTEMPTS
    connect_judge().judge(ENTRY, "A cherry.")
    assert len(waits_s) == ATTEMPTS - 1
    for number, wait_s in enumerate(waits_s):
        assert 0.5 * 2**number <= wait_s <= 0.5 * 2**number + 0.5


@pytest.mark.parametrize("response", ["", " \n\t"])
def test_an_empty_response_scores_0_without_asking(server: OllamaServer, response: str) -> None:
    verdict = connect_judge().judge(ENTRY, response)
    assert (verdict.status, verdict.score, verdict.attempts) == ("empty", 0, 0)
    assert not server.requests


def make_entries(count: int) -> list[dict[str, Any]]:
    return [
        ENTRY | {"id": number, "base": {"text": f"b{number}"}, "assistant": {"text": f"a{number}"}}
        for number in range(count)
    ]


def test_every_answer_has_a_row_whatever_the_server_does(server: OllamaServer) -> None:
    server.replies = [
        Reply("90"),
        HTML,
        Reply("150"),
        BUSY,
        Reply("12"),
        Reply("Great!"),
        DROPPED,
        Reply("3"),
    ]
    rows = judge_responses(make_entries(3), connect_judge())
    assert [(row["status"], row["score"], row["attempts"]) for row in rows] == [
        ("ok", 90, 1), ("http_error", None, 1), ("out_of_range", None, 1),
        ("ok", 12, 2), ("parse_error", None, 1), ("ok", 3, 2),
    ]  # fmt: skip
    assert {(row["judge"], row["model"], row["model_digest"]) for row in rows} == {
        ("ollama", "llama3", digest_of("llama3:latest"))
    }


def test_the_same_answers_give_the_same_bytes(server: OllamaServer) -> None:
    server.answer = lambda request: Reply(str(len(request["messages"][0]["content"]) % 101))
    first, second = (json.dumps(judge_responses(make_entries(12), connect_judge())) for _ in range(2))
    assert first == second


def test_a_server_that_dies_midway_is_not_asked_on_and_every_answer_has_its_row(server: OllamaServer) -> None:
    server.answer = lambda request: DROPPED if len(server.requests) > 3 else Reply()
    rows = judge_responses(make_entries(20), connect_judge())
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["http_error"] * 37
    assert len(server.requests) == 3 + 5 * ATTEMPTS


def test_no_server_is_one_line_that_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    host = unused_host()
    monkeypatch.setenv("OLLAMA_HOST", host.replace("//", "//user:secret@"))
    with pytest.raises(InputError) as stopped:
        connect_judge()
    message = str(stopped.value)
    for part in (host.removeprefix("http://"), "`ollama serve`", "OLLAMA_HOST", "`judge.backend: overlap`"):
        assert part in message
    assert "secret" not in message and "\n" not in message


def test_a_missing_model_is_named_with_the_ones_there(server: OllamaServer) -> None:
    server.models = ("phi3:latest", "llama3:70b")
    with pytest.raises(InputError) as stopped:
        connect_judge("llama3")
    message = str(stopped.value)
    for part in ("'llama3'", "llama3:70b, phi3:latest", "`ollama pull llama3`", "`judge.backend: overlap`"):
        assert part in message
    server.models = ()
    with pytest.raises(InputError, match="none at all"):
        connect_judge("llama3")


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("llama3", "llama3:latest"),
        ("llama3:70b", "llama3:70b"),
        ("host:80/me/tiny", "host:80/me/tiny:latest"),
    ],
)
def test_a_model_is_found_with_and_without_its_tag(server: OllamaServer, asked: str, listed: str) -> None:
    server.models = ("other:latest", listed)
    judge = connect_judge(asked)
    assert (judge.model, judge.model_digest) == (asked, digest_of(listed))


def test_a_server_that_is_not_ollama_is_told_apart(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"{server.host}/elsewhere")
    with pytest.raises(InputError, match=r"is not Ollama's API .*404 page not found.*OLLAMA_HOST"):
        connect_judge()


def test_an_unreadable_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://localhost:port")
    with pytest.raises(InputError, match="localhost:port"):
        connect_judge()


def test_a_proxy_setting_does_not_come_between(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_host())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert connect_judge().judge(ENTRY, "A cherry.").status == "ok"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan", ""])
def test_a_timeout_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SCRATCHLM_JUDGE_TIMEOUT_S", text)
    with pytest.raises(InputError, match=r"SCRATCHLM_JUDGE_TIMEOUT_S is .*wanted a number of seconds above 0"):
        connect_judge()


def test_the_test_server_refuses_what_ollama_would_misread() -> None:
    import ollama

    with pytest.raises(AssertionError, match="misread"), OllamaServer() as server:
        client = ollama.Client(server.host, timeout=5, trust_env=False)
        with pytest.raises(ollama.ResponseError, match="option seed missing"):
            client.chat("llama3", [{"role": "user", "content": "hi"}], options={"temperature": 0})


def test_the_test_server_streams_where_the_request_does_not_say() -> None:
    import httpx

    options = {"seed": 1, "temperature": 0, "num_ctx": 8}
    with OllamaServer() as server, httpx.Client(base_url=server.host, trust_env=False) as client:
        assert client.get("/").text == "Ollama is running"
        assert "version" in client.get("/api/version").json()
        assert client.post("/api/show", json={"model": "llama3"}).json()["details"]["format"] == "gguf"
        reply = client.post("/api/chat", json={"model": "llama3", "messages": [], "options": options})
        lines = [json.loads(line) for line in reply.text.splitlines()]
        missing = client.post("/api/chat", json={"model": "nope", "messages": []})
    assert [line["done"] for line in lines] == [False, True]
    assert lines[0]["message"]["content"] == "85"
    assert (missing.status_code, missing.json()) == (404, {"error": "model 'nope' not found"})


@pytest.mark.parametrize("host", ["::::", "http://[::1", "127.0.0.1:99999999"])
def test_an_ollama_host_that_is_no_address_ends_the_stage_in_one_line(host: str, tmp_path: Path) -> None:
    # A real process: the client reads OLLAMA_HOST when it is imported.
    params = (REPOSITORY / "profiles" / "sample.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params.replace("backend: overlap", "backend: ollama"), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "responses.json").write_text(json.dumps(make_entries(1)))
    done = subprocess.run(
        [sys.executable, REPOSITORY / "stages" / "judge_responses.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OLLAMA_HOST": host},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("judge_responses: error: ") and "OLLAMA_HOST" in done.stderr
