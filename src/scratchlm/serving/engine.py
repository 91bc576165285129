"""One model that answers many requests at the same time, in a thread of its own."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Literal

from scratchlm.generation.continuous import Finish, News, NewToken, Request, Row, RunningBatch
from scratchlm.model.language_model import LanguageModel

__all__ = ["Deliver", "End", "Engine", "NewToken", "Reason", "Request", "Running", "Stopped"]

Reason = Finish | Literal["cancelled", "stopped", "error"]
STOPPED = "the server was stopped before this request's turn came"
FAILED = "the model failed and answers no more; the server's output says why: start it again"


class Stopped(Exception):
    """The engine was closed or has failed: it takes no more requests."""


@dataclass(frozen=True)
class End:
    """The end of an answer: the last event of every request."""

    reason: Reason
    message: str = ""  # why, if the reason is "stopped" or "error"


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
    """A model with a thread that continues up to `n_at_once` prompts together, while others wait.

    Whoever came first is answered first. Every accepted request gets exactly one `End`, whatever happens.
    """

    def __init__(self, model: LanguageModel, n_at_once: int = 8) -> None:
        self.model = model
        self._n_at_once = n_at_once
        self._waiting: deque[Running] = deque()
        self._stopped: str | None = None  # why no more requests are taken
        self._changed = Condition()  # guards the two above; what follows belongs to the thread
        self._batch = RunningBatch(model, n_at_once)
        self._answering: dict[Row, Running] = {}
        self.context = self._batch.context  # most tokens of a prompt and its answer
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> Running:
        """Accept a request, whose events go to `deliver`. Raises Stopped once the engine was closed or has failed."""
        running = Running(request, deliver)
        with self._changed:
            if self._stopped is not None:
                raise Stopped(self._stopped)
            self._waiting.append(running)
            self._changed.notify()
        return running

    def close(self) -> None:
        """Let what runs end, then end the thread. Requests that still wait are refused: their `End` says "stopped"."""
        with self._changed:
            self._stopped = self._stopped or STOPPED
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._admit():
                self._advance(self._batch.read, self._batch.reading)
                self._advance(self._batch.step, self._batch.running)
        except Exception:  # not of one computation, such as a GPU that does nothing more
            traceback.print_exc(file=sys.stderr)
            with self._changed:
                self._stopped = FAILED
                left = [*self._answering.values(), *self._waiting]
                self._waiting.clear()
            for running in left:
                running.deliver(End("stopped", FAILED))

    def _admit(self) -> bool:
        """Let cancelled requests go and waiting ones in; sleep while there are none. False: the thread shall end."""
        with self._changed:
            while not (self._answering or self._waiting or self._stopped):
                self._changed.wait()
        gone = [row for row, running in self._answering.items() if running.cancelled]
        self._batch.drop(gone)
        for row in gone:
            self._answering.pop(row).deliver(End("cancelled"))
        with self._changed:
            for running in list(self._waiting):
                if running.cancelled:
                    running.deliver(End("cancelled"))
                elif self._stopped is not None:
                    running.deliver(End("stopped", self._stopped))
                elif len(self._answering) < self._n_at_once:
                    self._answering[self._batch.admit(running.request)] = running
                else:
                    continue
                self._waiting.remove(running)
            return bool(self._answering) or self._stopped is None

    def _advance(self, advance: Callable[[], list[News]], rows: Sequence[Row]) -> None:
        """Deliver what `advance` says next of these rows. If it fails, these requests end, and no others."""
        affected = list(rows)
        try:
            news = advance()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._batch.drop(affected)
            for row in affected:
                self._answering.pop(row).deliver(End("error", f"the model failed: {error}"))
            return
        for row, token, finish in news:
            if token is not None:
                self._answering[row].deliver(token)
            if finish is not None:
                running = self._answering.pop(row)
                # Its last tokens may be lacking, as none are delivered to who has cancelled.
                running.deliver(End("cancelled" if running.cancelled else finish))
