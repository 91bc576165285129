"""The prompt of an instruction, as the model sees it."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.serving.bodies import Body, read_body
from scratchlm.serving.shelf import Shelf


class Instruction(Body):
    """What a model shall do, and the text to work on, which is often empty."""

    model: str
    instruction: str = Field(min_length=1)
    input: str = ""


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that shows a prompt."""

    def write(asked: Instruction) -> dict[str, Any]:
        served = shelf.get(asked.model)
        entry = Entry(instruction=asked.instruction, input=asked.input, output="")
        text = format_prompt(entry, served.style)
        return {"prompt": text, "ids": served.tokenizer.encode_ordinary(text)}

    async def prompt(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(write, await read_body(request, Instruction)))

    return [Route("/page/prompt", prompt, methods=["POST"])]
