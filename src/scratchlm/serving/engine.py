"""One model that answers many requests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event as Flag
from typing import Literal

from scratchlm.generation.decode import Sampling, decode
from scratchlm.model.language_model import LanguageModel

Reason = Literal["stop", "length", "cancelled"]


class QueueFull(Exception):
    """So many requests wait already that one more is refused."""


@dataclass(frozen=True)
class Request:
    """A prompt to continue."""

    ids: tuple[int, ...]  # at least one, and fewer than the model's context
    max_new_tokens: int  # at least one; the model's context may end it earlier
    stop_ids: frozenset[int]
    sampling: Sampling
    n_logprobs: int | None = None  # how many likeliest tokens come with each new one; None: no logarithms at all


@dataclass(frozen=True)
class NewToken:
    """A token of an answer, never one of `stop_ids`."""

    id: int
    logprob: float | None = None  # of the model's own distribution, at temperature 1
    likeliest: tuple[tuple[int, float], ...] = ()  # (id, logprob) of `n_logprobs` tokens, likeliest first


@dataclass(frozen=True)
class End:
    """The end of an answer: the last event of every request."""

    reason: Reason


Deliver = Callable[[NewToken | End], None]  # called from the engine's thread; must return at once


class Running:
    """A request that was accepted."""

    def __init__(self) -> None:
        self.cancelled = Flag()

    def cancel(self) -> None:
        """Free its place at the next step; its `End` says "cancelled"."""
        self.cancelled.set()


class Engine:
    """A model with a thread that continues up to `n_at_once` prompts together, while `n_waiting` more may wait."""

    def __init__(self, model: LanguageModel, n_at_once: int = 8, n_waiting: int = 64) -> None:
        self.model = model
        self._thread = ThreadPoolExecutor(1)

    def submit(self, request: Request, deliver: Deliver) -> Running:
        """Accept a request, whose events go to `deliver`. Raises QueueFull."""
        running = Running()
        self._thread.submit(self._answer, request, deliver, running)
        return running

    def close(self) -> None:
        """Let what runs and waits end, then end the thread."""
        self._thread.shutdown()

    def _answer(self, request: Request, deliver: Deliver, running: Running) -> None:
        for _, token in decode(self.model, [request.ids], request.max_new_tokens, request.stop_ids, request.sampling):
            if running.cancelled.is_set():
                return deliver(End("cancelled"))
            if token in request.stop_ids:
                return deliver(End("stop"))
            deliver(NewToken(token))
        return deliver(End("length"))
