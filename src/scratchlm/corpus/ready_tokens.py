"""Ready token ids of GPT-2's tokenizer: raw files (`.bin`), as datatrove writes them too (`.ds`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchlm.errors import InputError

TOKEN_SUFFIXES = (".bin", ".ds")
N_VOCAB, END_OF_TEXT = 50_257, 50_256  # of GPT-2
READ_BYTES = 1 << 20
KNOWN_NAMES = ("gpt2", "unknown tokenizer")  # the second is datatrove's own word


class TokenCounts(NamedTuple):
    """How many documents and tokens a file holds."""

    documents: int
    tokens: int


def copy_tokens(path: Path, target: Path, name: str) -> TokenCounts:
    """Copy a file of little-endian uint16 or uint32 ids to `target` as uint16, checking every id.

    datatrove's `.metadata` beside the file says which of the two it is. Without, a file is uint32 if every second half
    of its beginning is zero: no id of GPT-2 needs more than 16 bits. Raises InputError for ids of another tokenizer,
    and for an empty or a cut file.
    """
    size_bytes = path.stat().st_size
    dtype = np.dtype(f"<u{_token_bytes(path, name)}")
    if not size_bytes or size_bytes % dtype.itemsize:
        raise InputError(
            f"corpus.source: {name} has {size_bytes:,} bytes, wanted ids of {dtype.itemsize} bytes each: get it again"
        )
    documents, tokens, last = 0, 0, -1
    with path.open("rb") as source, target.open("wb") as copy:
        while block := source.read(READ_BYTES):
            ids = np.frombuffer(block, dtype)
            if ids.max() >= N_VOCAB:
                place = int(np.argmax(ids >= N_VOCAB))
                raise InputError(
                    f"corpus.source: {name} holds the id {ids[place]} (token {tokens + place + 1:,}), GPT-2's largest "
                    f"is {N_VOCAB - 1}: give ids of GPT-2's tokenizer without a file header, or the text"
                )
            copy.write(block if dtype.itemsize == 2 else ids.astype("<u2").tobytes())
            tokens += len(ids)
            documents += int(np.count_nonzero(ids == END_OF_TEXT))
            last = int(ids[-1])
    return TokenCounts(documents + (last != END_OF_TEXT), tokens)


def _token_bytes(path: Path, name: str) -> int:
    notes = path.with_name(f"{path.name}.metadata")
    if notes.is_file():
        tokenizer, _, size = notes.read_text(encoding="utf-8", errors="replace").partition("\n")[0].rpartition("|")
        if size not in ("2", "4"):
            raise InputError(f"corpus.source: {notes} does not say `TOKENIZER|2` or `TOKENIZER|4` in its first line")
        if not any(known in tokenizer.lower() for known in KNOWN_NAMES):
            raise InputError(
                f"corpus.source: {name} was made by the tokenizer {tokenizer}, as {notes.name} says; wanted ids of "
                "GPT-2's: give the text instead"
            )
        return int(size)
    with path.open("rb") as source:
        halves = np.frombuffer(source.read(READ_BYTES)[: path.stat().st_size // 4 * 4], "<u2")
    return 2 if halves[1::2].any() or not halves.size else 4
