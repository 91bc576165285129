"""How a text is cut into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.serving.bodies import Body, read_body
from scratchlm.serving.shelf import Shelf
from scratchlm.tokenizer.pieces import token_label
from scratchlm.tokenizer.protocol import Tokenizer

SHOWN_TOKENS = 2000  # more make a page slow, and nobody reads them
SHOWN_CHARACTERS = 40  # of one token


class Text(Body):
    """A text, and the model whose tokenizer cuts it."""

    model: str
    text: str


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that cuts a text."""

    async def tokens(request: Request) -> JSONResponse:
        asked = await read_body(request, Text)
        served = await shelf.find(asked.model)
        return JSONResponse(await run_in_threadpool(cut_text, served.tokenizer, asked.text))

    return [Route("/page/tokens", tokens, methods=["POST"])]


def cut_text(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """Return the first SHOWN_TOKENS tokens of a text, and how many characters, bytes and tokens it has."""
    ids = tokenizer.encode(text, allowed_special="all")
    return {
        "n_characters": len(text),
        "n_bytes": len(text.encode()),
        "n_tokens": len(ids),
        "n_vocab": tokenizer.n_vocab,
        "tokens": describe_tokens(tokenizer, ids[:SHOWN_TOKENS]),
    }


def describe_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return what the page shows of each token: its id, its text in printable form, its bytes, and of which kind it is.

    `special` are the tokens that end a text or an answer, and the one for unknown words: they stand for no characters.
    `partial` are those that hold only some bytes of a character.
    """
    return [_describe_token(tokenizer, token) for token in ids]


def _describe_token(tokenizer: Tokenizer, token: int) -> dict[str, Any]:
    content = tokenizer.decode_single_token_bytes(token)
    return {
        "id": token,
        "label": token_label(tokenizer, token, SHOWN_CHARACTERS),
        "bytes": content.hex(" "),
        "special": token in tokenizer.stop_ids or token == tokenizer.unk_token,
        "partial": "\ufffd" in content.decode(errors="replace") and "\ufffd".encode() not in content,
    }
