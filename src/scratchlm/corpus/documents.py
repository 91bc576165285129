"""Reading the corpus: a folder of UTF-8 text files, each a document of its own, in order of their names."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from scratchlm.errors import OutputError

READ_CHARACTERS = 1 << 17  # a corpus is read piece by piece: it may be larger than memory
CUT_CHARACTERS = 4096  # how far back from a piece's end a place to cut is looked for first
UNBROKEN_CHARACTERS = 1 << 18  # bounds the time (more than linear) and memory that a text without blanks takes
# Not \s: Python counts four control characters as white space that the split pattern does not.
BEFORE_BLANK = re.compile(r"(?<=\S)(?=[ \t\n])")


def document_paths(folder: Path) -> list[Path]:
    """List a corpus folder's documents in order; raise OutputError if there are none."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not paths:
        raise OutputError(f"{folder} holds no documents")
    return paths


def read_pieces(path: Path) -> Iterator[str]:
    """Read a text in pieces of about 130,000 characters, cut where no BPE token can be cut.

    A piece ends before a blank that follows something else: GPT-2's split pattern never joins those two. A
    text with nothing but blanks, or without any, is cut after 260,000 characters, wherever that is. Line ends become
    newlines, as in the book. Raises OutputError if the file is not UTF-8.
    """
    held = ""
    with path.open(encoding="utf-8") as stream:
        try:
            while more := stream.read(READ_CHARACTERS):
                held += more
                too_long = len(held) >= UNBROKEN_CHARACTERS
                searched_from = 0 if too_long else max(0, len(held) - CUT_CHARACTERS)
                cuts = deque(BEFORE_BLANK.finditer(held, searched_from), maxlen=1)
                end = cuts[0].start() if cuts else UNBROKEN_CHARACTERS if too_long else 0
                if end:
                    yield held[:end]
                    held = held[end:]
        except UnicodeDecodeError as error:
            raise OutputError(
                f"{path.name} is not UTF-8 text any more (byte {error.object[error.start]:#04x})"
            ) from None
    if held:
        yield held


def read_documents(folder: Path) -> Iterator[str]:
    """Read all documents of a corpus folder, in pieces and in order."""
    for path in document_paths(folder):
        yield from read_pieces(path)


def count_characters(folder: Path) -> int:
    """Count the characters of all documents of a corpus folder."""
    return sum(map(len, read_documents(folder)))
