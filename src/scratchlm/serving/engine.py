"""One model that answers many requests at the same time, in a thread of its own."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Literal

from scratchlm.errors import InputError
from scratchlm.generation.continuous import Finish, NewToken, Request, Row, RunningBatch
from scratchlm.model.language_model import LanguageModel

__all__ = ["Deliver", "End", "Engine", "NewToken", "QueueFull", "Reason", "Request", "Running"]

Reason = Finish | Literal["cancelled", "error"]


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
        """Hand an event over. If that fails nobody listens, so that the request is cancelled."""
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
        self._changed = Condition()  # guards the two above
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> Running:
        """Accept a request, whose events go to `deliver`. Raises QueueFull, also once the engine was closed."""
        running = Running(request, deliver)
        with self._changed:
            if self._closing or len(self._waiting) >= self._n_waiting:
                raise QueueFull
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
        batch = RunningBatch(self.model, self._n_at_once)
        answering: dict[Row, Running] = {}
        while self._admit(batch, answering):
            self._advance(batch.read, batch.joining, batch, answering)
            self._advance(batch.step, batch.running, batch, answering)

    def _admit(self, batch: RunningBatch, answering: dict[Row, Running]) -> bool:
        """Let cancelled requests go and waiting ones in; wait if there are none, and return False at the end."""
        with self._changed:
            while not (answering or self._waiting or self._closing):
                self._changed.wait()
            waiting, self._waiting = self._waiting, deque()
            ended = [(running, End("cancelled")) for running in waiting if running.cancelled]
            waiting = deque(running for running in waiting if not running.cancelled)
            if self._closing:
                ended += [(running, End("error", "the server was stopped")) for running in waiting]
                waiting.clear()
            gone = [row for row, running in answering.items() if running.cancelled]
            n_free = self._n_at_once - len(answering) + len(gone)
            joining = [waiting.popleft() for _ in range(min(n_free, len(waiting)))]
            self._waiting = waiting
        batch.drop(gone)
        ended += [(answering.pop(row), End("cancelled")) for row in gone]
        for running, end in ended:
            running.deliver(end)
        rows = batch.admit([running.request for running in joining])
        answering.update(zip(rows, joining, strict=True))
        return bool(answering) or not self._closing

    def _advance(
        self,
        advance: Callable[[], list[tuple[Row, NewToken | None]]],
        rows: list[Row],
        batch: RunningBatch,
        answering: dict[Row, Running],
    ) -> None:
        """Deliver what a part of the batch says next. If it fails, the requests of that part end, and no others."""
        affected = list(rows)
        try:
            news = advance()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            message = str(error) if isinstance(error, InputError) else f"the model failed: {error}"
            batch.drop(affected)
            for row in affected:
                answering.pop(row).deliver(End("error", message))
            return
        for row, token in news:
            if token is not None:
                answering[row].deliver(token)
            if row.finish is not None:
                answering.pop(row).deliver(End(row.finish))
