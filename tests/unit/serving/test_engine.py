"""An engine under many clients, who leave, wait in vain, or listen badly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import pytest
import torch

from scratchlm.generation import continuous
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.serving.engine import End, Engine, NewToken, Request, Running, Stopped

GREEDY = Sampling()
TIMEOUT_S = 30.0
CONTEXT = 400


@pytest.fixture(scope="module")
def model() -> GPT:
    """In double precision, so that rounding never decides between two tokens."""
    torch.manual_seed(3)
    return new_model(GPTConfig(30, CONTEXT, 16, 2, 2), "gpt2", init_std=0.5).double().eval()


@pytest.fixture
def make(model: GPT) -> Iterator[Callable[..., Engine]]:
    """Make engines that are closed after the test."""
    made: list[Engine] = []

    def make(**options: int) -> Engine:
        made.append(Engine(model, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


class Client:
    """Asks an engine for a continuation, and keeps what comes."""

    def __init__(self, engine: Engine, request: Request, deliver: Callable[[Any], None] = lambda event: None) -> None:
        self.request = request
        self.events: list[NewToken | End] = []
        self.begun, self.ended = Event(), Event()

        def keep(event: NewToken | End) -> None:
            self.events.append(event)
            self.begun.set()
            if isinstance(event, End):
                self.ended.set()
            deliver(event)

        self.running: Running = engine.submit(request, keep)

    def answer(self) -> tuple[list[int], str]:
        """Wait for the end; return the tokens and the reason."""
        assert self.ended.wait(TIMEOUT_S)
        *tokens, end = self.events
        assert isinstance(end, End) and all(isinstance(token, NewToken) for token in tokens)
        return [token.id for token in tokens if isinstance(token, NewToken)], end.reason


def request(*ids: int, n: int = 10, sampling: Sampling = GREEDY, stop_ids: frozenset[int] = frozenset()) -> Request:
    return Request(ids, n, stop_ids, sampling)


def alone(model: GPT, request: Request) -> tuple[list[int], str]:
    (given,) = generate(model, [request.ids], request.max_new_tokens, request.stop_ids, request.sampling, 1)
    return given.ids, "stop" if given.stopped else "length"


class Held:
    """A client whose first token holds the engine until it is let go."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._go = Event()
        self.client = Client(engine, request, lambda event: self._go.wait(TIMEOUT_S) and None)
        assert self.client.begun.wait(TIMEOUT_S)

    def let_go(self) -> None:
        self._go.set()


def test_many_clients_each_get_what_they_get_alone(make: Callable[..., Engine], model: GPT) -> None:
    engine = make(n_at_once=3)
    asked = [
        request(*range(1, 2 + number), n=5 + number, sampling=Sampling(number % 2, 5, number), stop_ids=frozenset({9}))
        for number in range(20)
    ]
    clients = [Client(engine, one) for one in asked]
    assert [client.answer() for client in clients] == [alone(model, one) for one in asked]
    assert {client.answer()[1] for client in clients} == {"stop", "length"}


def test_who_came_first_is_answered_first(make: Callable[..., Engine]) -> None:
    engine = make(n_at_once=1)
    held = Held(engine, request(1))
    ended: list[int] = []
    clients = [
        Client(
            engine,
            request(1, n=2 + number % 2),
            lambda event, number=number: isinstance(event, End) and ended.append(number),
        )
        for number in range(9)
    ]
    held.let_go()
    for client in clients:
        client.answer()
    assert ended == list(range(9))


def test_a_client_that_leaves_frees_its_row_at_the_next_step(make: Callable[..., Engine], model: GPT) -> None:
    engine = make(n_at_once=2)
    held = Held(engine, request(1, n=CONTEXT))
    stays = Client(engine, request(2, n=50))
    waits, leaves_too, comes = (Client(engine, request(number, n=5)) for number in (3, 4, 5))
    held.client.running.cancel()
    leaves_too.running.cancel()
    held.let_go()
    assert held.client.answer() == (alone(model, request(1, n=1))[0], "cancelled")
    assert leaves_too.answer() == ([], "cancelled")
    for client in (stays, waits, comes):
        assert client.answer() == alone(model, client.request)


def test_leaving_twice_or_after_the_end_changes_nothing(make: Callable[..., Engine]) -> None:
    engine = make()
    client = Client(engine, request(1))
    client.answer()
    client.running.cancel()
    client.running.cancel()
    assert Client(engine, request(2)).answer()[1] == "length"
    assert [type(event) for event in client.events].count(End) == 1


def test_at_the_close_running_answers_end_and_waiting_ones_are_refused(make: Callable[..., Engine], model: GPT) -> None:
    engine = make(n_at_once=1)
    held = Held(engine, request(1, n=100))
    waiting = [Client(engine, request(number)) for number in (2, 3)]
    closing = Thread(target=engine.close)
    closing.start()
    while engine._stopped is None:
        time.sleep(0.001)
    with pytest.raises(Stopped, match="stopped"):
        Client(engine, request(4))
    held.let_go()
    closing.join(TIMEOUT_S)
    assert held.client.answer() == alone(model, request(1, n=100))
    for client in waiting:
        assert client.events == [End("stopped", "the server was stopped before this request's turn came")]
    assert not engine._thread.is_alive()
    engine.close()


def test_a_failing_prompt_ends_alone_and_the_others_go_on(
    make: Callable[..., Engine], model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that join with it, but are not read with it."""
    features = model.features

    def fail_at_29(ids_BT: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if (ids_BT == 29).any() and ids_BT.shape[1] > 1:
            raise RuntimeError("a bad sum")
        return features(ids_BT, *rest, **options)

    monkeypatch.setattr(model, "features", fail_at_29)
    monkeypatch.setattr(continuous, "READ_TOKENS", 4)
    engine = make()
    held = Held(engine, request(1, n=50))
    asked = [request(2, 3), request(29, 29, 29), request(4, 5), request(6, 7)]
    before, bad, *after = [Client(engine, one) for one in asked]
    held.let_go()
    assert bad.answer() == ([], "error")
    assert bad.events == [End("error", "the model failed: a bad sum")]
    for client in (held.client, before, *after, Client(engine, request(2))):
        assert client.answer() == alone(model, client.request)


@pytest.mark.parametrize("place", ["drop", "admit"])
def test_an_engine_that_cannot_go_on_ends_all_and_takes_no_more(
    make: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    """As after an error of a GPU, which fails each further call."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a sticky error")

    engine = make(n_at_once=2)
    held = Held(engine, request(1, n=50))
    others = [Client(engine, request(number, n=50)) for number in (2, 3, 4)]
    monkeypatch.setattr(engine._batch, place, fail)
    monkeypatch.setattr(engine._batch.model, "features", fail)
    held.let_go()
    for client in (held.client, *others):
        assert client.answer()[1] in ("error", "stopped")
        assert sum(isinstance(event, End) for event in client.events) == 1
    with pytest.raises(Stopped, match="start it again"):
        while True:
            Client(engine, request(5)).answer()
    assert "a sticky error" in capsys.readouterr().err
    engine.close()


def test_a_step_that_fails_ends_all_that_run_and_the_engine_goes_on(
    make: Callable[..., Engine], model: GPT, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    features = model.features
    calls = []

    def fail_once(ids_BT: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if ids_BT.shape[1] == 1:
            calls.append(len(ids_BT))
            if len(calls) == 10:
                raise MemoryError("no room")
        return features(ids_BT, *rest, **options)

    monkeypatch.setattr(model, "features", fail_once)
    engine = make()
    held = Held(engine, request(1, 2, n=50))
    other = Client(engine, request(3, 4, n=50))
    held.let_go()
    for client in (held.client, other):
        ids, reason = client.answer()
        assert reason == "error" and 0 < len(ids) < 50
        assert client.events[-1] == End("error", "the model failed: no room")
    assert "MemoryError: no room" in capsys.readouterr().err
    monkeypatch.setattr(model, "features", features)
    assert Client(engine, request(5, 6)).answer() == alone(model, request(5, 6))


def test_who_cannot_listen_harms_nobody_else(make: Callable[..., Engine], model: GPT) -> None:
    engine = make(n_at_once=2)

    def fail(event: Any) -> None:
        raise RuntimeError("no ears")

    deaf = Client(engine, request(1, n=CONTEXT), fail)
    others = [Client(engine, request(number)) for number in (2, 3, 4)]
    assert [client.answer() for client in others] == [alone(model, client.request) for client in others]
    ids, reason = deaf.answer()
    assert (len(ids), reason) == (1, "cancelled")


def test_an_engine_that_nobody_asks_sleeps(make: Callable[..., Engine]) -> None:
    engine = make()
    Client(engine, request(1)).answer()

    def n_wakes() -> str:
        return Path(f"/proc/self/task/{engine._thread.native_id}/status").read_text().partition("voluntary_ctxt")[2]

    time.sleep(0.1)
    before = n_wakes()
    time.sleep(0.3)
    assert n_wakes() == before != ""


def test_a_request_that_is_cancelled_before_its_last_token_says_so(make: Callable[..., Engine]) -> None:
    engine = make(n_at_once=3)
    clients: list[Client] = []
    held = Held(engine, request(1))
    clients.append(Client(engine, request(1, n=1), lambda event: clients[1].running.cancel()))
    clients.append(Client(engine, request(2, n=1)))
    held.let_go()
    assert clients[1].answer() == ([], "cancelled")
    assert clients[0].answer()[1] == "length"


def test_200_requests_of_which_many_leave_all_end_once_and_leave_no_row_behind(
    make: Callable[..., Engine], model: GPT
) -> None:
    engine = make(n_at_once=4)
    draw = random.Random(1)
    clients: SimpleQueue[Client] = SimpleQueue()

    def come_and_go(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(25):
            ids = [draw.randrange(30) for _ in range(draw.randrange(1, 60))]
            client = Client(engine, request(*ids, n=draw.randrange(1, 30), sampling=Sampling(draw.choice([0, 1]), 9)))
            clients.put(client)
            if draw.random() < 0.4:
                time.sleep(draw.random() * 0.01)
                client.running.cancel()
            elif draw.random() < 0.3:
                client.answer()

    threads = [Thread(target=come_and_go, args=(draw.randrange(1000),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    found = [clients.get() for _ in range(200)]
    reasons = [client.answer()[1] for client in found]
    assert set(reasons) == {"cancelled", "length"} and reasons.count("cancelled") > 20
    for client in found:
        assert sum(isinstance(event, End) for event in client.events) == 1
        ids, reason = client.answer()
        whole, _ = alone(model, client.request)
        assert ids == whole if reason == "length" else ids == whole[: len(ids)]
    # All rows are free: so many requests run at once that none of them ends before the last begins.
    last_held = Held(engine, request(1, n=20))
    rest = [Client(engine, request(2, n=20)) for _ in range(3)]
    last_held.let_go()
    for client in (last_held.client, *rest):
        client.answer()
    assert not (engine._answering or engine._waiting or engine._batch.running or engine._batch.joining)
