"""JSON in, JSON out: the bodies of requests, checked, and errors in OpenAI's form."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse


class Body(BaseModel):
    """What a request asks for; keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


AnyBody = TypeVar("AnyBody", bound=Body)


class Refused(Exception):
    """A request that cannot be answered: an HTTP status, a sentence that says why, and the key that is at fault."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


async def read_body(request: Request, wanted: type[AnyBody]) -> AnyBody:
    """Read a request's JSON; raise Refused that names every mistake."""
    try:
        return wanted.model_validate(json.loads(await request.body()))
    except (ValidationError, ValueError) as error:
        raise Refused(400, str(error)) from None


def error_response(refused: Refused) -> JSONResponse:
    """Return an error in OpenAI's form."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    error: dict[str, Any] = {"message": refused.message, "type": kind, "param": refused.param, "code": None}
    return JSONResponse({"error": error}, refused.status)
