"""The Ollama backend against a real local server, with the faults such servers have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from ollama_server import OllamaServer, digest_of
from scripted_server import BUSY, DROPPED, HALF, HTML, LIMITED, Reply, unused_host

from scratchlm.errors import InputError
from scratchlm.judging.backends.ollama import OllamaBackend, connect, read_host
from scratchlm.judging.client import BackendError, Completion, TooSlow
from scratchlm.params.schema import JudgeParams

REPOSITORY = Path(__file__).parents[4]
SCHEMA = {"type": "object", "properties": {"level": {"type": "integer"}}}
SETTINGS = JudgeParams(
    judges=["ollama:llama3"],
    prompt="book",
    pairwise=False,
    temperature=0,
    num_ctx=2048,
    max_answer_tokens=256,
    probes=0,
    min_coverage=1,
)


def connect_to(model: str = "llama3", timeout_s: float = 20.0) -> OllamaBackend:
    return connect(model, SETTINGS, 123, timeout_s)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    with OllamaServer() as running:
        monkeypatch.setenv("OLLAMA_HOST", running.host)
        yield running


def test_it_asks_once_with_its_options_inside_options_and_without_thinking(server: OllamaServer) -> None:
    answer = connect_to().ask("How good is it?", None)
    (request,) = server.requests
    assert request["messages"] == [{"role": "user", "content": "How good is it?"}]
    assert (request["model"], request["stream"], request["think"]) == ("llama3", False, False)
    assert request["options"] == {"seed": 123, "temperature": 0, "num_ctx": 2048, "num_predict": 256}
    assert "format" not in request
    assert answer == Completion("85", "stop", 100, 3)


def test_a_schema_goes_along_as_format(server: OllamaServer) -> None:
    connect_to().ask("How good is it?", SCHEMA)
    assert server.requests[0]["format"] == SCHEMA


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply('{"score": 8', done_reason="length", eval_count=256), Completion('{"score": 8', "length", 100, 256)),
        (Reply("85", prompt_eval_count=None), Completion("85", "stop", None, 3)),
        (Reply("", done_reason="load"), Completion("", "other", 100, 3)),
    ],
)
def test_how_the_answer_ended_and_its_lengths_are_told(server: OllamaServer, reply: Reply, answer: Completion) -> None:
    server.replies = [reply]
    assert connect_to().ask("?", None) == answer


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (BUSY, 'HTTP 503: {"error": "server busy, please try again"}'),
        (LIMITED, "HTTP 429: "),
        (Reply(status=500, body=b"oops"), "oops"),
        (DROPPED, "ConnectionError"),
        (HALF, "ProtocolError"),
    ],
)
def test_a_fault_that_may_pass_is_worth_retrying(server: OllamaServer, fault: Reply, reason: str) -> None:
    server.replies = [fault]
    with pytest.raises(BackendError) as failed:
        connect_to().ask("?", None)
    assert failed.value.worth_retrying
    assert reason in failed.value.reason
    assert failed.value.retry_after_s == (1.0 if fault is LIMITED else None)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Reply(status=400, body=b'{"error": "invalid options"}'), "invalid options"),
        (Reply(status=404, body=b'{"error": "model gone"}'), "404"),
        (Reply(status=403, body=b"forbidden"), "403"),
        (Reply(status=400, body=b'["a list"]'), "a list"),
        (Reply(body=b'["a list"]'), "TypeError"),
        (Reply(body=b'{"message": {"role": "assistant", "con'), "JSONDecodeError"),
        (Reply(body=b'{"done": true}'), "message"),
        (HTML, "JSONDecodeError"),
    ],
)
def test_a_fault_that_stays_is_not(server: OllamaServer, fault: Reply, reason: str) -> None:
    server.replies = [fault]
    with pytest.raises(BackendError) as failed:
        connect_to().ask("?", None)
    assert not failed.value.worth_retrying
    assert reason in failed.value.reason and "\n" not in failed.value.reason
    assert len(server.requests) == 1


def test_a_hanging_server_is_too_slow(server: OllamaServer) -> None:
    server.replies = [Reply(delay_s=30)]
    with pytest.raises(TooSlow, match=r"no answer within 0\.2 s") as failed:
        connect_to(timeout_s=0.2).ask("?", None)
    assert failed.value.worth_retrying


def test_a_server_that_went_away_is_worth_retrying(server: OllamaServer) -> None:
    backend = connect_to()
    server.stop()
    with pytest.raises(BackendError, match="ConnectionError") as failed:
        backend.ask("?", None)
    assert failed.value.worth_retrying
    server.start()
    assert backend.ask("?", None).text == "85"


def test_no_server_is_one_line_that_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    host = unused_host()
    monkeypatch.setenv("OLLAMA_HOST", host.replace("//", "//user:secret@"))
    with pytest.raises(InputError) as stopped:
        connect_to()
    message = str(stopped.value)
    for part in (host.removeprefix("http://"), "`ollama serve`", "OLLAMA_HOST", "`judge.judges: [overlap]`"):
        assert part in message
    assert "secret" not in message and "\n" not in message


def test_a_missing_model_is_named_with_the_ones_there(server: OllamaServer) -> None:
    server.models = ("phi3:latest", "llama3:70b")
    with pytest.raises(InputError) as stopped:
        connect_to("llama3")
    message = str(stopped.value)
    for part in ("'llama3'", "llama3:70b, phi3:latest", "`ollama pull llama3`", "`judge.judges: [overlap]`"):
        assert part in message
    server.models = ()
    with pytest.raises(InputError, match="none at all"):
        connect_to("llama3")
    server.models = tuple(f"model{number:02}:latest" for number in range(30))
    with pytest.raises(InputError, match=r"model09:latest and 20 more: run"):
        connect_to("llama3")


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
    backend = connect_to(asked)
    assert (backend.model, backend.model_digest) == (asked, digest_of(listed))


def test_a_server_that_is_not_ollama_is_told_apart(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"{server.host}/elsewhere")
    with pytest.raises(InputError, match=r"is not Ollama's API .*404 page not found.*OLLAMA_HOST"):
        connect_to()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("example.com/path/", "http://example.com:11434/path"),
        ("example.com:56789", "http://example.com:56789"),
        (":56789", "http://127.0.0.1:56789"),
        ("http://example.com", "http://example.com"),
        ("https://example.com:56789/path", "https://example.com:56789/path"),
        ("[0001:2::1]", "http://[0001:2::1]:11434"),
        ("http://[::1]:56789", "http://[::1]:56789"),
        ("http://user:secret@example.com:1/", "http://example.com:1"),
    ],
)
def test_the_host_is_read_as_ollama_reads_it(monkeypatch: pytest.MonkeyPatch, given: str, address: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert read_host() == address


def test_an_unreadable_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://localhost:port")
    with pytest.raises(InputError, match="localhost:port"):
        connect_to()


def test_a_proxy_setting_does_not_come_between(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_host())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert connect_to().ask("?", None).text == "85"


def test_the_test_server_refuses_what_ollama_would_misread() -> None:
    with pytest.raises(AssertionError, match="misread"), OllamaServer() as server:
        request = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}], "options": {"temperature": 0}}
        refused = requests.post(f"{server.host}/api/chat", json=request, timeout=5)
        assert (refused.status_code, "option seed missing" in refused.text) == (400, True)


def test_the_test_server_streams_where_the_request_does_not_say() -> None:
    options = {"seed": 1, "temperature": 0, "num_ctx": 8}
    with OllamaServer() as server, requests.Session() as client:
        client.trust_env = False
        assert client.get(server.host, timeout=5).text == "Ollama is running"
        assert "version" in client.get(f"{server.host}/api/version", timeout=5).json()
        shown = client.post(f"{server.host}/api/show", json={"model": "llama3"}, timeout=5)
        assert shown.json()["details"]["format"] == "gguf"
        request = {"model": "llama3", "messages": [], "options": options}
        reply = client.post(f"{server.host}/api/chat", json=request, timeout=5)
        lines = [json.loads(line) for line in reply.text.splitlines()]
        missing = client.post(f"{server.host}/api/chat", json={"model": "nope", "messages": []}, timeout=5)
    assert [line["done"] for line in lines] == [False, True]
    assert lines[0]["message"]["content"] == "85"
    assert (missing.status_code, missing.json()) == (404, {"error": "model 'nope' not found"})


@pytest.mark.parametrize("host", ["::::", "http://me:secret@[::1", "127.0.0.1:99999999"])
def test_an_ollama_host_that_is_no_address_ends_in_one_line(host: str) -> None:
    # A real process, so that an error on import would show as well.
    program = """
import sys
from scratchlm.errors import InputError
from scratchlm.judging.backends.ollama import connect
from scratchlm.params.schema import JudgeParams
settings = JudgeParams(
    judges=["ollama:llama3"], prompt="book", pairwise=False, temperature=0,
    num_ctx=9, max_answer_tokens=9, probes=0, min_coverage=1,
)
try:
    connect("llama3", settings, 1, 5.0)
except InputError as error:
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OLLAMA_HOST": host},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "OLLAMA_HOST" in done.stderr and "secret" not in done.stderr
