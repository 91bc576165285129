"""Server-sent events: an answer in parts, each as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from scratchlm.serving.answer import Answer
from scratchlm.serving.bodies import Refused, error_body

END = "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Sends objects as OpenAI does; when the client has left, or all is sent, the answers are cancelled."""

    def __init__(self, objects: AsyncIterator[dict[str, Any]], answers: Iterable[Answer]) -> None:
        super().__init__(_as_events(objects), media_type="text/event-stream")
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for answer in self._answers:
                answer.cancel()


async def _as_events(objects: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for found in objects:
            yield _event(found)
    except Refused as refused:  # too late for a status
        yield _event(error_body(refused))
    yield END


def _event(found: dict[str, Any]) -> str:
    return f"data: {json.dumps(found, ensure_ascii=False, allow_nan=False)}\n\n"
