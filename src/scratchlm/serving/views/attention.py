"""The view Attention: which tokens of a sentence the heads of a layer look at."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.anatomy.inside import attention_maps, token_labels
from scratchlm.serving.answer import unless_left
from scratchlm.serving.bodies import Body, Refused, read_body
from scratchlm.serving.shelf import Served, Shelf
from scratchlm.serving.side_thread import compute

MOST_TOKENS = 64  # more rows than a page can show
MOST_CHARACTERS = 2_000
DECIMALS = 6


class Sentence(Body):
    """A text, and whose maps of it are asked for: those of one layer, the first is 0; the last if there are fewer."""

    model: str
    text: str = Field(max_length=MOST_CHARACTERS)
    layer: int = Field(ge=0)


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that maps a layer's attention."""

    async def attention(request: Request) -> JSONResponse:
        sentence = await read_body(request, Sentence)
        served = await shelf.find(sentence.model)
        return JSONResponse(await unless_left(request, compute(map_layer, served, sentence)))

    return [Route("/page/attention", attention, methods=["POST"])]


def map_layer(served: Served, sentence: Sentence) -> dict[str, Any]:
    """Return the tokens of a sentence and, for each head of a layer, the weights of each token.

    The weights of token t are those of tokens 0 to t; it sees no others. Raises Refused for a text with no token or
    more than 64.
    """
    config = served.model.config
    ids = served.tokenizer.encode(sentence.text, allowed_special="all")
    most = min(MOST_TOKENS, config.context_length)
    if not 0 < len(ids) <= most:
        raise Refused(400, f"the text has {len(ids)} tokens, wanted 1 to {most}", "text")
    layer = min(sentence.layer, config.n_layers - 1)
    maps_HTT = attention_maps(served.model, ids)[layer].double().cpu()
    heads = [[row[: t + 1] for t, row in enumerate(rows)] for rows in maps_HTT.tolist()]
    return {
        "tokens": token_labels(served.tokenizer, ids),
        "layer": layer,
        "n_layers": config.n_layers,
        "heads": [[[round(weight, DECIMALS) for weight in row] for row in rows] for rows in heads],
    }
