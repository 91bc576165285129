"""JSON in, JSON out: the bodies of requests, checked, and errors in OpenAI's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from scratchlm.files.text import one_line
from scratchlm.params.file import show_value

MAX_BODY_BYTES = 2**20
MOST_KEYS = 100  # of a body; each mistake takes time to name
MAX_MESSAGE_CHARS = 1_000
CLIENT_LEFT = 499  # nginx's status for it


class Body(BaseModel):
    """What a request asks for; keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


AnyBody = TypeVar("AnyBody", bound=BaseModel)


class Refused(Exception):
    """A request that cannot be answered: an HTTP status, a sentence that says why, and the key that is at fault.

    `code` is OpenAI's word for it where there is one, such as `model_not_found`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers


def client_left() -> Refused:
    """Return what ends the work for a client that has left; nobody reads it."""
    return Refused(CLIENT_LEFT, "the client has left")


async def read_body(request: Request, wanted: type[AnyBody]) -> AnyBody:
    """Read a request's JSON; raise Refused that names every mistake, of a list only its first."""
    found = await read_json(request)
    if isinstance(found, dict) and len(found) > MOST_KEYS:
        raise Refused(400, f"the body has {len(found):,} keys, wanted at most {MOST_KEYS}")
    return check(found, wanted)


def check(found: Any, wanted: type[AnyBody], at: str = "") -> AnyBody:
    """Return JSON as a checked object; raise Refused that names every mistake, with where in the body it is."""
    try:
        return wanted.model_validate(found)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        keys = [at + ".".join(map(str, detail["loc"])) for detail in details]
        problems = [_problem(key or "the body", detail) for key, detail in zip(keys, details, strict=True)]
        raise Refused(400, "; ".join(problems), keys[0] or None) from None


async def read_json(request: Request) -> Any:
    """Read the JSON of a request; raise Refused for another type, too many bytes, or what no JSON can say.

    A web page elsewhere can make a browser send any bytes, but the type "application/json" only if we allow it.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, f"Content-Type: got {kind or 'none'}, wanted application/json")
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > MAX_BODY_BYTES:
                raise Refused(413, f"the body has more than {MAX_BODY_BYTES:,} bytes")
    except ClientDisconnect:
        raise client_left() from None
    try:
        found = json.loads(content.decode("utf-8"))
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(400, "a text holds half a character (a lone surrogate, \\ud800 to \\udfff)") from None
    except RecursionError:
        raise Refused(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise Refused(400, f"the body is not JSON that can be read: {error}") from None
    return found


def error_response(refused: Refused) -> JSONResponse:
    """Return an error in OpenAI's form."""
    return JSONResponse(error_body(refused), refused.status, refused.headers)


def error_body(refused: Refused) -> dict[str, Any]:
    """Return what OpenAI's interface says of an error."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    message = one_line(refused.message, MAX_MESSAGE_CHARS)
    param = None if refused.param is None else one_line(refused.param, MAX_MESSAGE_CHARS)
    return {"error": {"message": message, "type": kind, "param": param, "code": refused.code}}


def _problem(key: str, detail: Any) -> str:
    if detail["type"] == "missing":
        return f"{key}: missing"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    wanted = re.sub(r"^(Value error, |\w+ should (be|have) )", "", detail["msg"])
    return f"{key}: got {show_value(detail['input'])}, wanted {wanted}"
