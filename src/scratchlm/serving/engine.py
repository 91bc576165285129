"""One model that answers many requests at the same time, in a thread of its own."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Literal

from scratchlm.errors import InputError
from scratchlm.generation.continuous import Finish, News, NewToken, Request, Row, RunningBatch
from scratchlm.model.language_model import LanguageModel

__all__ = ["Deliver", "End", "Engine", "NewToken", "QueueFull", "Reason", "Request", "Running"]

Reason = Finish | Literal["cancelled", "error"]
STOPPED = "the server was stopped before this request's turn came"


class QueueFull(Exception):
    """So many requests wait already that one more is refused."""


@dataclass(frozen=True)
class End:
    """The end of an answer: the last event of every request."""

    reason: Reason
    message: str = ""  # what went wrong, if the reason is "error"


Deliver = Callable[[NewToken | End], None]  # called from the engine's thread; must return at once


class Running:
    """A request that was accepted."""

    def __init__(self, request: Request, deliver: Deliver) -> None:
        self.request = request
        self.cancelled = False
        self._deliver = deliver

    def cancel(self) -> None:
        """Free its place at the next step; its `End` says "cancelled"."""
        self.cancelled = True

    def deliver(self, event: NewToken | End) -> None:
        """Hand an event over, of a cancelled request only its end. If that fails, nobody listens: cancel it."""
        if self.cancelled and isinstance(event, NewToken):
            return
        try:
            self._deliver(event)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.cancel()


class Engine:
    """A model with a thread that continues up to `n_at_once` prompts together, while `n_waiting` more may wait.

    Whoever came first is answered first. Every accepted request gets exactly one `End`, whatever happens.
    """

    def __init__(self, model: LanguageModel, n_at_once: int = 8, n_waiting: int = 64) -> None:
        self.model = model
        self._n_at_once, self._n_waiting = n_at_once, n_waiting
        self._waiting: deque[Running] = deque()
        self._closing = False
        self._changed = Condition()  # guards the two above; what follows belongs to the thread
        self._batch = RunningBatch(model, n_at_once)
        self._answering: dict[Row, Running] = {}
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> Running:
        """Accept a request, whose events go to `deliver`. Raises QueueFull, also once the engine was closed."""
        running = Running(request, deliver)
        with self._changed:
            if self._closing:
                raise QueueFull("the server was stopped")
            if len(self._waiting) >= self._n_waiting:
                raise QueueFull(f"{len(self._waiting)} wait")
            self._waiting.append(running)
            self._changed.notify()
        return running

    def close(self) -> None:
        """Let what runs end, then end the thread. Requests that still wait are refused: their `End` says "error"."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            self._advance(self._batch.read, self._batch.joining)
            self._advance(self._batch.step, self._batch.running)

    def _admit(self) -> bool:
        """Let cancelled requests go and waiting ones in; sleep while there are none. False: the thread shall end."""
        ended: list[tuple[Running, End]] = []
        joining: list[Running] = []
        with self._changed:
            while not (self._answering or self._waiting or self._closing):
                self._changed.wait()
            gone = [row for row, running in self._answering.items() if running.cancelled]
            n_free = self._n_at_once - len(self._answering) + len(gone)
            still_waiting: deque[Running] = deque()
            for running in self._waiting:
                if running.cancelled:
                    ended.append((running, End("cancelled")))
                elif self._closing:
                    ended.append((running, End("error", STOPPED)))
                elif len(joining) < n_free:
                    joining.append(running)
                else:
                    still_waiting.append(running)
            self._waiting = still_waiting
        self._batch.drop(gone)
        ended += [(self._answering.pop(row), End("cancelled")) for row in gone]
        for running, end in ended:
            running.deliver(end)
        rows = self._batch.admit([running.request for running in joining])
        self._answering.update(zip(rows, joining, strict=True))
        return bool(self._answering) or not self._closing

    def _advance(self, advance: Callable[[], list[News]], rows: Sequence[Row]) -> None:
        """Deliver what `advance` says next of these rows. If it fails, these requests end, and no others."""
        affected = list(rows)
        try:
            news = advance()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            message = str(error) if isinstance(error, InputError) else f"the model failed: {error}"
            self._batch.drop(affected)
            for row in affected:
                self._answering.pop(row).deliver(End("error", message))
            return
        for row, token, finish in news:
            if token is not None:
                self._answering[row].deliver(token)
            if finish is not None:
                self._answering.pop(row).deliver(End(finish))
