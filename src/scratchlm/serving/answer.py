"""An answer on its way from the engine's thread to a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from starlette.requests import Request as HttpRequest

from scratchlm.generation.decode import Sampling
from scratchlm.serving.bodies import Refused, client_left
from scratchlm.serving.engine import End, NewToken, Request, Stopped
from scratchlm.serving.shelf import Served
from scratchlm.serving.text_stream import TextStream

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """What came at once; either part may be empty."""

    text: str
    tokens: tuple[NewToken, ...] = ()


class Answer:
    """A prompt that the engine of a model continues, until it is told to `cancel`.

    It ends at the tokenizer's end of text, at `max_new_tokens`, where the model's context is full, or as `text` says.
    With `shows_end`, the token that ended it is among those of the pieces, though not in the text and not counted.
    """

    def __init__(
        self,
        served: Served,
        ids: Sequence[int],
        max_new_tokens: int,
        sampling: Sampling,
        text: TextStream,
        n_logprobs: int | None = None,
        shows_end: bool = False,
    ) -> None:
        """Hand the prompt to the engine; raise Refused if it takes no more."""
        self.n_tokens = 0
        self.finish: Literal["stop", "length"] | None = None  # None while it runs
        self._text = text
        self._end_ids = frozenset(served.tokenizer.stop_ids) if shows_end else frozenset()
        self._events: asyncio.Queue[NewToken | End] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(event: NewToken | End) -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        n_free = served.engine.context - len(ids)
        stop_ids = frozenset() if shows_end else frozenset(served.tokenizer.stop_ids)
        request = Request(tuple(ids), min(max_new_tokens, n_free), stop_ids, sampling, n_logprobs)
        try:
            self._running = served.engine.submit(request, deliver)
        except Stopped as stopped:
            raise Refused(503, str(stopped)) from None

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield what comes until the answer ends; raise Refused if the model fails.

        What came since the last piece is one piece: under load, when sending is slower than the model, so fewer are
        sent.
        """
        while self.finish is None:
            pieces = [self._take(await self._events.get())]
            while self.finish is None and not self._events.empty():
                pieces.append(self._take(self._events.get_nowait()))
            text = "".join(piece.text for piece in pieces)
            tokens = tuple(token for piece in pieces for token in piece.tokens)
            if text or tokens:
                yield Piece(text, tokens)

    def cancel(self) -> None:
        """Free the answer's place; what still comes is not read."""
        self._running.cancel()

    def _take(self, event: NewToken | End) -> Piece:
        if isinstance(event, End):
            if event.reason == "stop" or event.reason == "length":
                self.finish = event.reason
                return Piece(self._text.end())
            raise Refused(503 if event.reason == "stopped" else 500, event.message or "the answer was cancelled")
        if event.id in self._end_ids:
            self.finish = "stop"
            self.cancel()
            return Piece(self._text.end(), (event,))
        self.n_tokens += 1
        text = self._text.push(event.id)
        if self._text.stopped:
            self.finish = "stop"
            self.cancel()
        return Piece(text, (event,))


async def unless_left(request: HttpRequest, work: Coroutine[Any, Any, T], answers: Iterable[Answer] = ()) -> T:
    """Return what `work` does with some answers; if the client leaves first, raise Refused. Cancels the answers."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_until_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise client_left()
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        for answer in answers:
            answer.cancel()


async def _wait_until_left(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_length(ids: Sequence[int], served: Served, param: str, n_new: int = 1) -> None:
    """Raise Refused if a prompt has no tokens, or leaves no room for `n_new` more in the model's context."""
    context = served.engine.context
    if not ids:
        raise Refused(400, f"{param}: the prompt has no tokens: give a text with words in it", param)
    if len(ids) + n_new > context:
        sentence = (
            f"{param}: the prompt has {len(ids):,} tokens; this model's context has {context:,}, and an answer needs "
            "at least one: give a shorter text"
        )
        raise Refused(400, sentence, param, "context_length_exceeded")
