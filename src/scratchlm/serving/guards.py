"""Who may ask, and what a browser may do with the answer.

Nothing here is a password: any program of this machine may ask. What is kept out are web pages that make the user's
browser ask for them: by a name of theirs that leads to 127.0.0.1 (DNS rebinding), or from a page of another site.
"""

from __future__ import annotations

import re
import traceback

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scratchlm.serving.bodies import Refused, error_response

OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)  # a tunnel may have another port

HEADERS = {
    # Nothing but our own files, so that no text of a model or a user can run or load anything.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # the page is asked for again after an update
}


class Guards:
    """An application that refuses foreign names and other sites' pages, and adds `HEADERS` to every answer.

    It also prints the traceback of a defect, after which the application has answered or cannot go on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":  # a WebSocket, which nothing here has
            return
        problem = _problem(Headers(scope=scope))
        app = self._app if problem is None else error_response(problem)
        try:
            await app(scope, receive, send_guarded)
        except Exception:
            traceback.print_exc()


def _problem(headers: Headers) -> Refused | None:
    host = headers.get("Host", "")
    if not OWN_HOST.fullmatch(host):
        return Refused(421, f"Host: got {host or 'none'}, wanted 127.0.0.1 or localhost")
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return Refused(403, f"Origin: got {origin}, wanted none or http://{host}: no other site's page may ask")
    return None
