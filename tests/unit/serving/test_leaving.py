"""Clients that leave, and more clients than there is room for."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from openai import OpenAI

from scratchlm.serving.engine import Deliver, End, Engine, NewToken, Request, Running
from scratchlm.serving.shelf import Shelf

STEP_S = 0.05  # an answer that fills the context takes 15 s
SOON_S = 5
CHAT = {"model": "preferred", "messages": [{"role": "user", "content": "the cat"}]}


class Counting(Engine):
    """An engine that counts what it accepts and what it says."""

    n_accepted = n_events = 0

    def submit(self, request: Request, deliver: Deliver) -> Running:
        def counted(event: NewToken | End) -> None:
            self.n_events += 1
            deliver(event)

        running = super().submit(request, counted)
        self.n_accepted += 1
        return running


def wait_until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def engine(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """That of a slow model, which answers one request, while two more may wait."""
    served = shelf.get("preferred")
    hook = served.model.ln_f.register_forward_hook(lambda *_: time.sleep(STEP_S))
    engine = Counting(served.model, n_at_once=1, n_waiting=2)
    monkeypatch.setitem(shelf._loaded, "preferred", replace(served, engine=engine))
    yield engine
    engine.close()
    hook.remove()


def begin(address: str, path: str, body: dict[str, Any], n_kept_back: int = 0) -> socket.socket:
    """Send a request; return the socket on which its answer will come."""
    content = json.dumps(body).encode()
    connection = socket.create_connection((urlsplit(address).hostname, urlsplit(address).port or 0), timeout=10)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    connection.sendall(head.encode() + b"\r\n\r\n" + content[: len(content) - n_kept_back])
    return connection


def ask(client: OpenAI) -> Any:
    return client.chat.completions.create(**CHAT, max_tokens=1)  # type: ignore[call-overload]


def assert_soon(is_so: Callable[[], bool]) -> None:
    """Assert that something is so in less time than one of the answers would take."""
    begun_s = time.monotonic()
    while not is_so():
        time.sleep(STEP_S)  # until the next step, those that left are still there
    assert time.monotonic() - begun_s < SOON_S


def is_accepted(address: str) -> bool:
    with begin(address, "/v1/chat/completions", CHAT | {"stream": True}) as connection:
        return b"200 OK" in connection.recv(2**16)


def is_answered(client: OpenAI) -> bool:
    try:
        return bool(ask(client).choices)
    except openai.RateLimitError:
        return False


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"stream": True}),
        ("/v1/completions", {"model": "preferred", "prompt": "a", "max_tokens": 300}),
        ("/v1/completions", {"model": "preferred", "prompt": ["a", "b"], "max_tokens": 300, "stream": True}),
    ],
)
def test_a_client_that_leaves_frees_its_place_at_once(
    address: str, client: OpenAI, engine: Counting, path: str, body: dict[str, Any]
) -> None:
    with begin(address, path, body) as connection:
        if body.get("stream"):
            assert b"200 OK" in connection.recv(2**16)
        wait_until(lambda: engine.n_events > 0)
    assert_soon(lambda: is_answered(client))


def test_a_full_queue_says_when_to_come_back(address: str, client: OpenAI, engine: Counting) -> None:
    with begin(address, "/v1/chat/completions", CHAT):
        wait_until(lambda: engine.n_events > 0)
        with begin(address, "/v1/chat/completions", CHAT), begin(address, "/v1/chat/completions", CHAT):
            wait_until(lambda: engine.n_accepted == 3)
            for options in ({}, {"stream": True}):
                with pytest.raises(openai.RateLimitError, match="too many requests wait") as caught:
                    client.chat.completions.create(**CHAT, **options)  # type: ignore[call-overload]
                assert caught.value.status_code == 429 and caught.value.code == "queue_full"
                assert float(caught.value.response.headers["Retry-After"]) > 0
            assert client.models.list().data  # all else goes on
            assert client.completions.create(model="pretrained", prompt="a", max_tokens=1).choices
    assert_soon(lambda: is_answered(client))


def test_of_prompts_that_do_not_all_fit_none_is_begun(address: str, client: OpenAI, engine: Counting) -> None:
    with begin(address, "/v1/chat/completions", CHAT):
        wait_until(lambda: engine.n_events > 0)
        with begin(address, "/v1/chat/completions", CHAT):
            wait_until(lambda: engine.n_accepted == 2)
            with pytest.raises(openai.RateLimitError):
                client.completions.create(model="preferred", prompt=["a", "b"], max_tokens=300)
            assert engine.n_accepted == 3
            assert_soon(lambda: is_accepted(address))


def test_a_model_that_fails_says_so_and_answers_the_next(
    client: OpenAI, shelf: Shelf, capfd: pytest.CaptureFixture[str]
) -> None:
    model = shelf.get("preferred").model

    def fail(*_: object) -> None:
        raise RuntimeError("the chip melted")

    hook = model.ln_f.register_forward_hook(fail)
    with pytest.raises(openai.InternalServerError, match="the chip melted"):
        ask(client)
    with pytest.raises(openai.APIError, match="the chip melted"):
        list(client.chat.completions.create(**CHAT, stream=True))  # type: ignore[call-overload]
    hook.remove()
    assert ask(client).choices
    assert "the chip melted" in capfd.readouterr().err


def test_a_client_that_leaves_amid_its_request_is_forgotten(
    address: str, client: OpenAI, capfd: pytest.CaptureFixture[str]
) -> None:
    for sent in (b"", b"POST /v1/completions HTTP/1.1\r\nHost", b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection((urlsplit(address).hostname, urlsplit(address).port or 0)) as connection:
            connection.sendall(sent)
    half = begin(address, "/v1/completions", {"model": "pretrained", "prompt": "a" * 9}, n_kept_back=5)
    half.close()
    time.sleep(0.2)
    assert client.models.list().data
    assert capfd.readouterr() == ("", "")
