"""The prompt of an instruction, as the model sees it."""

from __future__ import annotations

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

    async def prompt(request: Request) -> JSONResponse:
        asked = await read_body(request, Instruction)
        served = await shelf.find(asked.model)
        text = format_prompt(Entry(instruction=asked.instruction, input=asked.input, output=""), served.style)
        return JSONResponse({"prompt": text, "ids": await run_in_threadpool(served.tokenizer.encode_ordinary, text)})

    return [Route("/page/prompt", prompt, methods=["POST"])]
