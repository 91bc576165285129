"""The tokens that may follow a text, and how likely each is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import FailFast, Field
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.generation.decode import Sampling
from scratchlm.generation.next_token import expect_token_of_each
from scratchlm.params.schema import Temperature
from scratchlm.serving.answer import unless_left
from scratchlm.serving.bodies import Body, Refused, read_body
from scratchlm.serving.shelf import Served, Shelf
from scratchlm.serving.side_thread import compute
from scratchlm.serving.views.tokens import describe_tokens

SHOWN_TOKENS = 12


class Text(Body):
    """A text, the tokens taken after it, and how the next one is to be drawn."""

    model: str
    text: str
    taken: Annotated[list[int], FailFast()] = Field([])
    temperature: Temperature = 1.0
    top_k: int | None = Field(None, ge=1)


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that tells what may follow."""

    async def next_token(request: Request) -> JSONResponse:
        asked = await read_body(request, Text)
        served = await shelf.find(asked.model)
        return JSONResponse(await unless_left(request, compute(expect_next, served, asked)))

    return [Route("/page/next_token", next_token, methods=["POST"])]


def expect_next(served: Served, asked: Text) -> dict[str, Any]:
    """Return the likeliest tokens after a text, each with the probability from which generation draws it.

    Which tokens are shown and in which order does not depend on temperature and top-k, so that their bars can be seen
    to move; `at_1` is the model's own probability. Raises Refused for a text without tokens, or that fills the context.
    """
    tokenizer, context = served.tokenizer, served.model.config.context_length
    unknown = [token for token in asked.taken if not 0 <= token < tokenizer.n_vocab]
    if unknown:
        raise Refused(400, f"taken: got {unknown[0]}, wanted ids from 0 to {tokenizer.n_vocab - 1}", "taken")
    typed = tokenizer.encode(asked.text, allowed_special="all")
    prompt = typed + asked.taken
    if not prompt:
        raise Refused(400, "the text has no tokens: type a word, and the model says what may follow", "text")
    # Not the taken tokens decoded alone: a word tokenizer puts blanks between words.
    taken_text = tokenizer.decode(prompt)[len(tokenizer.decode(typed)) :]
    known = {"ids": prompt, "context": context, "taken_text": taken_text}
    if len(prompt) >= context:
        return known | {"tokens": [], "n_others": 0, "others": 0.0}
    samplings = [Sampling(temperature=1.0), Sampling(asked.temperature, asked.top_k)]
    own_V, drawn_V = expect_token_of_each(served.model, prompt, samplings)
    shown = own_V.sort(descending=True, stable=True).indices[:SHOWN_TOKENS]
    tokens = [
        token | {"probability": float(drawn_V[token["id"]]), "at_1": float(own_V[token["id"]])}
        for token in describe_tokens(tokenizer, shown.tolist())
    ]
    rest_V = drawn_V.double().index_fill(0, shown, 0.0)
    return known | {"tokens": tokens, "n_others": int((rest_V > 0).sum()), "others": float(rest_V.sum())}
