"""The tokenized corpus on disk: ids in a memory-mapped file, seen through sliding windows (chapter 2.6).

`data/tokens/` holds `train.bin` and `validation.bin` (little-endian uint16, or uint32 for a vocabulary over
65,536) and `manifest.json`, whose max_length and stride are the index: window i starts at token i * stride,
so that overlapping windows cost no copy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scratchlm.errors import InputError

MANIFEST = "manifest.json"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class TokenManifest:
    """What `data/tokens/` holds: counts of characters, tokens and windows, and the share of `<|unk|>` in the tokens."""

    documents: int
    characters: int
    tokens: int
    train_tokens: int
    validation_tokens: int
    train_windows: int
    validation_windows: int
    train_unknown_percent: float
    validation_unknown_percent: float
    vocab_size: int
    max_length: int
    stride: int
    dtype: str


def n_windows(n_tokens: int, max_length: int, stride: int) -> int:
    """Count the windows of `max_length` tokens that have a target for every token."""
    return len(range(0, n_tokens - max_length, stride))


def read_manifest(folder: Path) -> TokenManifest:
    """Read the manifest of a token folder; raise InputError if it is damaged."""
    path = folder / MANIFEST
    try:
        return TokenManifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): run `make repro` to build it again") from None


def read_ids(folder: Path, split: str) -> np.ndarray:
    """Map a split's token ids into memory, [n] unsigned integers, without reading them.

    Raises InputError if the file has another size than the manifest says.
    """
    manifest = read_manifest(folder)
    path = folder / f"{split}.bin"
    n_tokens = manifest.train_tokens if split == "train" else manifest.validation_tokens
    wanted, got = n_tokens * np.dtype(manifest.dtype).itemsize, path.stat().st_size
    if got != wanted:
        raise InputError(f"{path} has {got:,} bytes, expected {wanted:,}: run `make repro` to build it again")
    return np.memmap(path, dtype=manifest.dtype, mode="r")
