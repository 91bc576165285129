"""The application: the page, what the page asks for, and OpenAI's interface."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from scratchlm.errors import InputError, OutputError, explain
from scratchlm.serving import chat, completions, models
from scratchlm.serving.bodies import Refused, error_response
from scratchlm.serving.guards import Guards
from scratchlm.serving.limit import Limit
from scratchlm.serving.shelf import Shelf
from scratchlm.serving.views import attention, compare, examples, next_token, prompt, spam, tokens

PAGE = Path(__file__).parent / "page"


def make_app(shelf: Shelf) -> ASGIApp:
    """Return the application that serves the models of a shelf."""
    openai = [*models.routes(shelf), *chat.routes(shelf), *completions.routes(shelf)]
    views = (attention, compare, examples, next_token, prompt, spam, tokens)
    routes = [
        Mount("/v1", routes=openai),
        Route("/health", health),
        *(route for view in views for route in view.routes(shelf)),
        Mount("/page", routes=[]),  # no others
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    handlers = {Refused: on_refused, InputError: on_input_error, HTTPException: on_http_error, Exception: on_defect}
    # Guards are outermost, so that a defect is guarded too.
    return Guards(Limit(Starlette(routes=routes, exception_handlers=handlers)))


async def health(request: Request) -> Response:
    """Say that the server answers, as llama-server does."""
    return JSONResponse({"status": "ok"})


async def on_refused(request: Request, error: Exception) -> Response:
    """Answer with what a part of the application refused."""
    assert isinstance(error, Refused)
    return error_response(error)


async def on_input_error(request: Request, error: Exception) -> Response:
    """Answer a mistake in the request as the command line does, or say that a stage's output is damaged."""
    assert isinstance(error, InputError)
    return error_response(Refused(503 if isinstance(error, OutputError) else 400, explain(error)))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown path or a method that it does not have."""
    assert isinstance(error, HTTPException)
    sentence = f"{request.method} {request.url.path}: {error.detail}"
    return error_response(Refused(error.status_code, sentence, headers=error.headers))


async def on_defect(request: Request, error: Exception) -> Response:
    """Answer after a defect, whose traceback goes to the server's output."""
    return error_response(Refused(500, "the server has a defect; its output says more"))
