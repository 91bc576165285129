"""The view Spam: a message's label, what each token adds to it, and the probability while reading."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description
from scratchlm.classifier.parts import take_apart
from scratchlm.serving.answer import unless_left
from scratchlm.serving.bodies import Body, read_body
from scratchlm.serving.shelf import Shelf
from scratchlm.serving.side_thread import compute
from scratchlm.tokenizer.pieces import token_label
from scratchlm.tokenizer.protocol import Tokenizer

MOST_CHARACTERS = 2_000


class Message(Body):
    """A message to classify."""

    text: str = Field(max_length=MOST_CHARACTERS)


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that classifies a message."""

    async def classify(request: Request) -> JSONResponse:
        message = await read_body(request, Message)
        found = await shelf.find_classifier()
        return JSONResponse(await unless_left(request, compute(take_message_apart, *found, message.text)))

    return [Route("/page/spam", classify, methods=["POST"])]


def take_message_apart(
    classifier: Classifier, tokenizer: Tokenizer, description: Description, text: str
) -> dict[str, Any]:
    """Return a message's label and the probabilities of all, and its tokens, each with its part and what it made.

    `part` is what a token adds to the label's log-odds (see `Parts`), `probability` the label's after that token.
    """
    ids = tokenizer.encode_ordinary(text)
    found = take_apart(classifier, ids, description.max_length, description.temperature)
    n_read = len(found.parts_T)
    # A character that spans several tokens comes with the last of them; the others show their bytes.
    pieces = [
        piece or token_label(tokenizer, token)
        for token, piece in zip(ids[:n_read], tokenizer.decode_stream(ids[:n_read]), strict=False)
    ]
    return {
        "label": description.labels[found.label],
        "probabilities": dict(zip(description.labels, found.probabilities_N.tolist(), strict=True)),
        "tokens": [
            {"text": piece, "part": part, "probability": probability}
            for piece, part, probability in zip(
                pieces, found.parts_T.tolist(), found.reading_TN[:, found.label].tolist(), strict=True
            )
        ],
        "unread": tokenizer.decode(ids[n_read:]),
    }
