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

MANIFEST = "manifest.json"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class TokenManifest:
    """What `data/tokens/` holds, all counts in characters, tokens or windows."""

    documents: int
    characters: int
    tokens: int
    train_tokens: int
    validation_tokens: int
    train_windows: int
    validation_windows: int
    vocab_size: int
    max_length: int
    stride: int
    dtype: str


def n_windows(n_tokens: int, max_length: int, stride: int) -> int:
    """Count the windows of `max_length` tokens that have a target for every token."""
    return len(range(0, n_tokens - max_length, stride))


def read_manifest(folder: Path) -> TokenManifest:
    """Read the manifest of a token folder."""
    return TokenManifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def read_ids(folder: Path, split: str) -> np.ndarray:
    """Map a split's token ids into memory, [n] unsigned integers, without reading them."""
    return np.memmap(folder / f"{split}.bin", dtype=read_manifest(folder).dtype, mode="r")
