"""GET /v1/models: which models there are."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.checkpoint.config_json import CONFIG
from scratchlm.errors import InputError
from scratchlm.serving.bodies import Refused
from scratchlm.serving.shelf import Shelf


def routes(shelf: Shelf) -> list[Route]:
    """Return the routes, below /v1."""

    def describe(name: str) -> dict[str, Any]:
        try:
            config = shelf.folder(name) / CONFIG
        except InputError as error:
            raise Refused(404, str(error), "model", "model_not_found") from None
        created = int(config.stat().st_mtime) if config.exists() else 0  # a stage may be writing it anew
        return {"id": name, "object": "model", "created": created, "owned_by": "scratchlm"}

    async def models(request: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [describe(name) for name in shelf.names()]})

    async def model(request: Request) -> JSONResponse:
        return JSONResponse(describe(request.path_params["name"]))

    return [Route("/models", models), Route("/models/{name}", model)]
