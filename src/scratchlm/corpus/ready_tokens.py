"""Ready token ids of GPT-2's tokenizer: raw files (`.bin`), as datatrove writes them too (`.ds`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchlm.errors import InputError

TOKEN_SUFFIXES = (".bin", ".ds")
N_VOCAB, END_OF_TEXT = 50_257, 50_256  # of GPT-2
READ_BYTES = 1 << 20
# All of these have one tokenizer. The last is datatrove's own word, where none was named.
KNOWN_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "unknown tokenizer")


class TokenCounts(NamedTuple):
    """How many documents and tokens a file holds."""

    documents: int
    tokens: int


def copy_tokens(path: Path, target: Path, name: str, before: Path | None) -> TokenCounts:
    """Copy a file of little-endian uint16 or uint32 ids to `target` as uint16, checking every id.

    datatrove's `.metadata` beside the file says which of the two it is. Without, a file is uint32 if every second half
    of its beginning is zero: no id of GPT-2 needs more than 16 bits. `before` is the copy of the file before this one:
    it gets an `<|endoftext|>` if it does not end with one and this file does not begin with one. Raises InputError for
    ids of another tokenizer, and for a cut file or one without text.
    """
    size_bytes = path.stat().st_size
    dtype = np.dtype(f"<u{_token_bytes(path, name)}")
    if not size_bytes or size_bytes % dtype.itemsize:
        raise InputError(
            f"corpus.source: {name} has {size_bytes:,} bytes, wanted ids of {dtype.itemsize} bytes each: get it again"
        )
    documents, tokens, last = 0, 0, END_OF_TEXT
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
            documents += count_ends(ids, last, END_OF_TEXT)
            last = int(ids[-1])
    if not documents and last == END_OF_TEXT:
        raise InputError(f"corpus.source: {name} holds no token but <|endoftext|>: leave it out")
    joints = _end_text(before, target) if before else 0
    return TokenCounts(documents + (last != END_OF_TEXT), tokens + joints)


def count_ends(ids: np.ndarray, before: int, end_of_text: int) -> int:
    """Count the ends of documents in `ids`, [n], which follow the token `before`.

    An `<|endoftext|>` ends a document if it follows another token: some programs write it before each document.
    """
    is_end = ids == end_of_text
    follows_end = np.concatenate(([before == end_of_text], is_end[:-1]))
    return int(np.count_nonzero(is_end & ~follows_end))


def _end_text(before: Path, after: Path) -> int:
    """Add an `<|endoftext|>` to the first of two copies where none is between them; return how many that is."""
    last = np.fromfile(before, "<u2", offset=before.stat().st_size - 2)[0]
    first = np.fromfile(after, "<u2", count=1)[0]
    if END_OF_TEXT in (last, first):
        return 0
    with before.open("ab") as file:
        file.write(np.array(END_OF_TEXT, dtype="<u2").tobytes())
    return 1


def _token_bytes(path: Path, name: str) -> int:
    notes = path.with_name(f"{path.name}.metadata")
    if notes.is_file():
        tokenizer, _, size = notes.read_text(encoding="utf-8", errors="replace").partition("\n")[0].rpartition("|")
        if size not in ("2", "4"):
            raise InputError(f"corpus.source: {notes} does not say `TOKENIZER|2` or `TOKENIZER|4` in its first line")
        if tokenizer.lower().removesuffix("/tokenizer.json").rpartition("/")[2] not in KNOWN_NAMES:
            raise InputError(
                f"corpus.source: {name} was made by the tokenizer {tokenizer}, as {notes.name} says; wanted ids of "
                "GPT-2's: give the text instead"
            )
        return int(size)
    with path.open("rb") as source:
        halves = np.frombuffer(source.read(READ_BYTES)[: path.stat().st_size // 4 * 4], "<u2")
    return 2 if halves[1::2].any() or not halves.size else 4


def ready_characters_per_token(paths: Sequence[Path], characters_of_ids: np.ndarray) -> float:
    """Return the mean characters of ready tokens; `characters_of_ids`, [n_vocab], has those of each id."""
    characters, tokens = 0, 0
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(READ_BYTES):
                ids = np.frombuffer(block, dtype="<u2")
                characters += int(characters_of_ids[ids].sum())
                tokens += len(ids)
    return characters / tokens
