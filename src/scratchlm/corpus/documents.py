"""Reading the corpus: a folder of texts in the order of their names, or of ready token ids.

A `.txt` file is one document. A file of JSON lines or a Parquet file holds many, one per row. Line ends become
newlines, as in the book.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from scratchlm.corpus.rows import has_rows, read_rows
from scratchlm.errors import InputError, OutputError
from scratchlm.stage.progress import progress_bar

READ_CHARACTERS = 1 << 17  # a corpus is read piece by piece: it may be larger than memory
CUT_CHARACTERS = 4096  # at the end of a piece, searched first for a place to cut
UNBROKEN_CHARACTERS = 1 << 18  # limits the time (more than linear) and memory for a text without blanks
# Not \s: to Python four control characters are white space, to the split pattern they are not.
BEFORE_BLANK = re.compile(r"(?<=\S)(?=[ \t\n])")

TOKENS = ".bin"  # little-endian uint16: ids of GPT-2's tokenizer


class Piece(NamedTuple):
    """A part of a document, or all of it; `begins` says that a document begins here."""

    text: str
    begins: bool


class Counts(NamedTuple):
    """How large a corpus is."""

    documents: int
    characters: int


def document_paths(folder: Path) -> list[Path]:
    """Return the files of a corpus folder that hold documents, in order.

    Raises OutputError if there are none, and InputError if there are ready tokens instead.
    """
    paths = _sorted_files(folder)
    if not paths:
        raise OutputError(f"{folder} holds no documents")
    if paths[0].suffix == TOKENS:
        raise InputError(
            f"{folder} holds ready token ids and no text to make a tokenizer from: set tokenizer.kind to gpt2, whose "
            "ids they are"
        )
    return paths


def token_paths(folder: Path) -> list[Path]:
    """Return the files of ready token ids of a corpus folder, in order: little-endian uint16; none if it has texts."""
    return [path for path in _sorted_files(folder) if path.suffix == TOKENS]


def _sorted_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def read_pieces(path: Path) -> Iterator[Piece]:
    """Read documents in pieces of about 130,000 characters, cut where no BPE token can be cut.

    A piece ends before a blank that follows another character: GPT-2's split pattern never joins these two. A text
    of blanks only, or without blanks, is cut after 260,000 characters. Rows without text are left out. Raises
    OutputError if the file was damaged since it was collected.
    """
    if has_rows(path):
        for text in read_rows(path, path.name, OutputError):
            if len(text) <= READ_CHARACTERS and "\r" not in text:
                if text:
                    yield Piece(text, begins=True)
            else:
                yield from _cut(StringIO(text, newline=None).read)
        return
    with path.open(encoding="utf-8") as stream:
        try:
            yield from _cut(stream.read)
        except UnicodeDecodeError as error:
            raise OutputError(f"{path.name} is no longer UTF-8 text (byte {error.object[error.start]:#04x})") from None


def _cut(read: Callable[[int], str]) -> Iterator[Piece]:
    """Cut one document, which `read` gives some characters of at a time."""
    held, begins = "", True
    while more := read(READ_CHARACTERS):
        held += more
        too_long = len(held) >= UNBROKEN_CHARACTERS
        searched_from = 0 if too_long else max(0, len(held) - CUT_CHARACTERS)
        cuts = deque(BEFORE_BLANK.finditer(held, searched_from), maxlen=1)
        end = cuts[0].start() if cuts else UNBROKEN_CHARACTERS if too_long else 0
        if end:
            yield Piece(held[:end], begins)
            held, begins = held[end:], False
    if held:
        yield Piece(held, begins)


def read_documents(folder: Path) -> Iterator[str]:
    """Read all documents of a corpus folder in order, piece by piece."""
    for path in document_paths(folder):
        for piece in read_pieces(path):
            yield piece.text


def count_corpus(folder: Path) -> Counts:
    """Count the documents of a corpus folder and their characters."""
    documents, characters = 0, 0
    with progress_bar(None, "count", " characters", unit_scale=True) as bar:
        for path in document_paths(folder):
            for piece in read_pieces(path):
                documents += piece.begins
                characters += len(piece.text)
                bar.update(len(piece.text))
    return Counts(documents, characters)
