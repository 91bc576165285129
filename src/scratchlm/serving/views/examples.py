"""Examples to try, drawn from the project's own data; what was not built gives none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.assistant.instructions import read_entries
from scratchlm.classifier.labels import read_labels
from scratchlm.classifier.messages import read_split_csv
from scratchlm.corpus.documents import document_paths, read_pieces
from scratchlm.errors import InputError
from scratchlm.serving.bodies import Body, read_body
from scratchlm.serving.shelf import Shelf

N_EXAMPLES = 4  # of each kind: about a row of buttons
BEGINNING = re.compile(r"\s*((?:\S+[ \n]){3}\S+)")  # of a document: four words
LONGEST = 120  # characters of an instruction or a message: a button holds no essay

Example = TypeVar("Example")


def routes(shelf: Shelf) -> list[Route]:
    """Return the route that offers examples."""

    def offered() -> dict[str, list[Any]]:
        return {kind: _read_if_built(read, shelf.root / "data") for kind, read in KINDS.items()}

    async def examples(request: Request) -> JSONResponse:
        await read_body(request, Body)
        return JSONResponse(await run_in_threadpool(offered))

    return [Route("/page/examples", examples, methods=["POST"])]


def read_texts(data: Path) -> list[str]:
    """Return beginnings of documents of the corpus."""
    paths = _spread(document_paths(data / "corpus"))
    pieces = [piece for path in paths for piece in islice(read_pieces(path), N_EXAMPLES) if piece.begins]
    beginnings = [BEGINNING.match(piece.text) for piece in _spread(pieces)]
    return [found[1].replace("\n", " ") for found in beginnings if found]


def read_instructions(data: Path) -> list[dict[str, str]]:
    """Return test instructions, each with its input: the assistant was not trained on them."""
    entries = read_entries(data / "instructions" / "test.json")
    asked = [{"instruction": entry["instruction"], "input": entry["input"]} for entry in entries]
    return _spread([one for one in asked if len("".join(one.values())) <= LONGEST])


def read_messages(data: Path) -> list[str]:
    """Return test messages, the labels in turn: the classifier was not trained on them."""
    messages = read_split_csv(data / "sms" / "test.csv", len(read_labels(data / "sms")))
    messages = messages[messages["Text"].str.len() <= LONGEST]
    in_turn = messages.assign(turn=messages.groupby("Label").cumcount()).sort_values(["turn", "Label"])
    return [*in_turn["Text"][:N_EXAMPLES]]


KINDS: dict[str, Callable[[Path], list[Any]]] = {
    "texts": read_texts,
    "instructions": read_instructions,
    "messages": read_messages,
}


def _read_if_built(read: Callable[[Path], list[Any]], data: Path) -> list[Any]:
    try:
        return read(data)
    except (InputError, OSError):  # the models may have come without the data
        return []


def _spread(values: Sequence[Example]) -> list[Example]:
    """Return N_EXAMPLES values from beginning to end; neighbours are often alike."""
    n_taken = min(N_EXAMPLES, len(values))
    return [values[len(values) * place // n_taken] for place in range(n_taken)]
