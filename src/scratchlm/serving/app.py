"""The application: the page, what the page asks for, and OpenAI's interface."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from scratchlm.serving.bodies import Refused, error_response
from scratchlm.serving.shelf import Shelf
from scratchlm.serving.views import examples, next_token, prompt, tokens

PAGE = Path(__file__).parent / "page"


def make_app(shelf: Shelf) -> Starlette:
    """Return the application that serves the models of a shelf."""

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error_response(error)

    routes = [
        *examples.routes(shelf),
        *next_token.routes(shelf),
        *prompt.routes(shelf),
        *tokens.routes(shelf),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(routes=routes, exception_handlers={Refused: on_refused})
