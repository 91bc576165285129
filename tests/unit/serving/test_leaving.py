"""Clients that leave, and more clients than there is room for."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event, current_thread
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import torch
from openai import OpenAI

from scratchlm.serving import limit, side_thread
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
    """That of a slow model, which answers one request at a time."""
    served = shelf.get("preferred")
    hook = served.model.ln_f.register_forward_hook(lambda *_: time.sleep(STEP_S))
    engine = Counting(served.model, n_at_once=1)
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


@pytest.fixture
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "MOST_AT_ONCE", 3)


@pytest.mark.usefixtures("three_at_once")
def test_too_many_requests_are_told_when_to_come_back(address: str, client: OpenAI, engine: Counting) -> None:
    with begin(address, "/v1/chat/completions", CHAT):
        wait_until(lambda: engine.n_events > 0)
        with begin(address, "/v1/chat/completions", CHAT), begin(address, "/v1/chat/completions", CHAT):
            wait_until(lambda: engine.n_accepted == 3)
            for options in ({}, {"stream": True}):
                with pytest.raises(openai.RateLimitError, match="too many requests wait") as caught:
                    client.chat.completions.create(**CHAT, **options)  # type: ignore[call-overload]
                assert caught.value.status_code == 429 and caught.value.code == "queue_full"
                assert float(caught.value.response.headers["Retry-After"]) > 0
            for path in ("/v1/completions", "/page/spam", "/page/attention", "/page/next_token"):
                assert b"429 Too Many" in begin(address, path, {}).recv(2**16)
            assert client.models.list().data  # what computes nothing goes on
    assert_soon(lambda: is_answered(client))


def test_two_requests_of_64_prompts_are_answered_together(address: str, client: OpenAI) -> None:
    """As lm-evaluation-harness asks with batches of 64 and two requests at a time."""
    with begin(address, "/v1/completions", {"model": "preferred", "prompt": ["a"] * 64, "max_tokens": 20}):
        assert len(client.completions.create(model="preferred", prompt=["b"] * 64, max_tokens=1).choices) == 64


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/completions",
            {"model": "pretrained", "prompt": ["abc"] * 64, "echo": True, "logprobs": 1, "max_tokens": 0},
        ),
        ("/page/spam", {"text": "win"}),
        ("/page/attention", {"model": "pretrained", "text": "the cat", "layer": 0}),
        ("/page/next_token", {"model": "pretrained", "text": "the cat"}),
    ],
)
def test_what_is_computed_beside_chats_has_one_thread_and_ends_with_its_client(
    address: str, client: OpenAI, shelf: Shelf, path: str, body: dict[str, Any]
) -> None:
    seen: list[str] = []
    go_on = Event()

    def note(*_: object) -> None:
        seen.append(current_thread().name)
        assert go_on.wait(30)

    models = [shelf.get("pretrained").model, shelf.classifier()[0].gpt]
    hooks = [model.wte.register_forward_pre_hook(note) for model in models]
    n_queued = side_thread._THREAD._work_queue.qsize
    try:
        asked = [begin(address, path, body) for _ in range(50)]  # more than the server's other threads
        wait_until(lambda: n_queued() == 49)
        assert is_answered(client)
        for connection in asked:
            connection.close()
        time.sleep(0.3)  # until the server has noticed
        n_before = len(seen)
        go_on.set()
        wait_until(lambda: n_queued() == 0)
    finally:
        go_on.set()
        for hook in hooks:
            hook.remove()
    assert (n_before, len({*seen})) == (1, 1)
    assert len(seen) < 50


def test_a_prompt_whose_answer_ended_makes_room_for_the_next(client: OpenAI, shelf: Shelf, engine: Counting) -> None:
    served = shelf.get("preferred")
    hook = served.model.lm_head.register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.tensor(served.tokenizer.eot_token), 9e3)
    )
    begun_s = time.monotonic()
    reply = client.completions.create(model="preferred", prompt=["a", "b"], max_tokens=300, logprobs=0)
    hook.remove()
    assert [choice.finish_reason for choice in reply.choices] == ["stop", "stop"]
    assert time.monotonic() - begun_s < SOON_S


def test_an_engine_that_stopped_is_not_said_to_be_busy(shelf: Shelf, client: OpenAI, engine: Counting) -> None:
    engine.close()
    with pytest.raises(openai.InternalServerError, match="the server was stopped") as caught:
        ask(client)
    assert caught.value.status_code == 503


def test_a_model_that_failed_for_good_is_not_asked_again(
    client: OpenAI, engine: Counting, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine._batch, "admit", lambda _: 1 / 0)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError, match="the model failed and answers no more") as caught:
            ask(client)
        assert caught.value.status_code == 503
    assert capfd.readouterr().err.count("ZeroDivisionError") == 1


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
