"""Reading the corpus: a folder of UTF-8 text files, one document each, in the order of their names."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from scratchlm.errors import OutputError

READ_CHARACTERS = 1 << 17  # a corpus is read piece by piece: it may be larger than memory
CUT_CHARACTERS = 4096  # at the end of a piece, searched first for a place to cut
UNBROKEN_CHARACTERS = 1 << 18  # limits the time (more than linear) and memory for a text without blanks
# Not \s: to Python four control characters are white space, to the split pattern they are not.
BEFORE_BLANK = re.compile(r"(?<=\S)(?=[ \t\n])")


def document_paths(folder: Path) -> list[Path]:
    """Return the documents of a corpus folder in order; raise OutputError if there are none."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not paths:
        raise OutputError(f"{folder} holds no documents")
    return paths


def read_pieces(path: Path) -> Iterator[str]:
    """Read a text in pieces of about 130,000 characters, cut where no BPE token can be cut.

    A piece ends before a blank that follows another character: GPT-2's split pattern never joins these two. A text
    of blanks only, or without blanks, is cut after 260,000 characters. Line ends become newlines, as in the book.
    Raises OutputError if the file is not UTF-8.
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
            raise OutputError(f"{path.name} is no longer UTF-8 text (byte {error.object[error.start]:#04x})") from None
    if held:
        yield held


def read_documents(folder: Path) -> Iterator[str]:
    """Read all documents of a corpus folder in order, piece by piece."""
    for path in document_paths(folder):
        yield from read_pieces(path)


def count_characters(folder: Path) -> int:
    """Count the characters of all documents of a corpus folder."""
    return sum(map(len, read_documents(folder)))
