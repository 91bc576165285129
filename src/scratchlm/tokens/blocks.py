"""The corpus as blocks of text to tokenize, each with its place, from where an interrupted reading goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from scratchlm.corpus.documents import read_pieces
from scratchlm.tokenizer.protocol import END_OF_TEXT

BLOCK_CHARACTERS = 1 << 17  # of short documents together: a thread gets work for some 10 ms at a time


class Place(NamedTuple):
    """A place between two pieces of the corpus: the file, and what is before it there and in all files."""

    file: int = 0
    pieces: int = 0  # of this file
    documents: int = 0
    characters: int = 0


class Block(NamedTuple):
    """Consecutive text of the corpus, and the place at its end."""

    train: str
    validation: str  # follows `train`; both are there in the block that the split cuts, or else one is empty
    end: Place


def read_blocks(paths: Sequence[Path], train_characters: int, start: Place) -> Iterator[Block]:
    """Read the corpus from a place on; the first `train_characters` of all are for training.

    Documents are joined by `<|endoftext|>`, and share a block if they are short. A document that is longer than a
    piece is never put together again: where it has no blank, the cut decides its ids.
    """
    place = start
    train: list[str] = []
    validation: list[str] = []
    size = 0
    for number in range(start.file, len(paths)):
        before = start.pieces if number == start.file else 0
        for pieces, (text, begins) in enumerate(islice(read_pieces(paths[number]), before, None), start=before + 1):
            if size and (not begins or size + len(text) > BLOCK_CHARACTERS):
                yield Block("".join(train), "".join(validation), place)
                train, validation, size = [], [], 0
            if begins and place.documents:
                (train if place.characters < train_characters else validation).append(END_OF_TEXT)
            room = max(0, train_characters - place.characters)
            train.append(text[:room])
            validation.append(text[room:])
            size += len(text)
            place = Place(number, pieces, place.documents + begins, place.characters + len(text))
    if size:
        yield Block("".join(train), "".join(validation), place)
