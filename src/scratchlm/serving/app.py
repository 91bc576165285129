"""The application: the page, what the page asks for, and OpenAI's interface."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from scratchlm.errors import InputError, explain
from scratchlm.serving.bodies import Refused, error_response
from scratchlm.serving.shelf import Shelf
from scratchlm.serving.views import attention, compare, examples, next_token, prompt, spam, tokens

PAGE = Path(__file__).parent / "page"


def make_app(shelf: Shelf) -> Starlette:
    """Return the application that serves the models of a shelf."""

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error_response(error)

    async def on_mistake(request: Request, error: Exception) -> Response:
        assert isinstance(error, InputError)
        return error_response(Refused(400, explain(error)))

    routes = [
        *examples.routes(shelf),
        *next_token.routes(shelf),
        *prompt.routes(shelf),
        *tokens.routes(shelf),
        *spam.routes(shelf),
        *attention.routes(shelf),
        *compare.routes(shelf),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(routes=routes, exception_handlers={Refused: on_refused, InputError: on_mistake})
