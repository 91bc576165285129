"""How many requests are answered at a time."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from scratchlm.serving.bodies import Refused, error_response

MOST_AT_ONCE = 64  # also the cheap ones, and those whose answers nobody reads yet
RETRY_AFTER = {"Retry-After": "1"}


class Limit:
    """An application that answers up to `MOST_AT_ONCE` requests to compute something at a time, and refuses others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._n_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":  # computes nothing
            await self._app(scope, receive, send)
            return
        if self._n_requests >= MOST_AT_ONCE:
            refused = Refused(429, "too many requests wait: ask again", None, "queue_full", RETRY_AFTER)
            await error_response(refused)(scope, receive, send)
            return
        self._n_requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._n_requests -= 1
