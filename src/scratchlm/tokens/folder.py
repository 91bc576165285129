"""The tokenized corpus on disk: ids in memory-mapped files, read as sliding windows (chapter 2.6).

`data/tokens/` holds `train.bin` and `validation.bin` (little-endian uint16, or uint32 for a vocabulary over
65,536) and `manifest.json` with max_length and stride. Window i starts at token i * stride, so overlapping windows
need no copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from scratchlm.errors import OutputError

MANIFEST = "manifest.json"
SPLITS = ("train", "validation")
DTYPES = ("<u2", "<u4")


@dataclass(frozen=True)
class TokenManifest:
    """The contents of `data/tokens/`: counts of characters, tokens and windows, and the share of `<|unk|>`."""

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


@dataclass(frozen=True)
class TokenFolder:
    """An opened `data/tokens/`: its manifest, and its ids, which stay on disk until they are read."""

    path: Path
    manifest: TokenManifest

    def ids(self, split: str) -> np.ndarray:
        """Map a split's token ids into memory, [n] unsigned integers, without reading them.

        Raises OutputError if the size of the file does not match the manifest.
        """
        path, manifest = self.path / f"{split}.bin", self.manifest
        n_tokens = manifest.train_tokens if split == "train" else manifest.validation_tokens
        wanted, got = n_tokens * np.dtype(manifest.dtype).itemsize, path.stat().st_size if path.exists() else 0
        if got != wanted:
            raise OutputError(f"{path} has {got:,} bytes, expected {wanted:,}")
        return np.memmap(path, dtype=manifest.dtype, mode="r")

    def check_ids(self, n_vocab: int) -> None:
        """Raise OutputError if the ids are not those of a tokenizer with `n_vocab` tokens."""
        vocab_size = self.manifest.vocab_size
        if vocab_size != n_vocab:
            raise OutputError(f"{self.path} was made with {vocab_size} tokens, the tokenizer has {n_vocab}")
        for split in SPLITS:
            largest = int(self.ids(split).max())
            if largest >= n_vocab:
                raise OutputError(f"{self.path}/{split}.bin holds the id {largest}, expected at most {n_vocab - 1}")


def n_windows(n_tokens: int, max_length: int, stride: int) -> int:
    """Count the windows of `max_length` tokens that have a target for every token."""
    return len(range(0, n_tokens - max_length, stride))


def open_tokens(folder: Path) -> TokenFolder:
    """Open a folder of tokens; raise OutputError if its manifest is missing or damaged."""
    path = folder / MANIFEST
    try:
        manifest = TypeAdapter(TokenManifest).validate_json(path.read_bytes(), strict=True)
        _check_counts(manifest)
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        problems = "; ".join(": ".join([*map(str, detail["loc"]), detail["msg"]]) for detail in error.errors())
        raise OutputError(f"{path} is damaged ({problems})") from None
    except ValueError as error:
        raise OutputError(f"{path} is damaged ({error})") from None
    return TokenFolder(folder, manifest)


def _check_counts(manifest: TokenManifest) -> None:
    """Raise ValueError if the counts contradict each other."""
    if manifest.dtype not in DTYPES:
        raise ValueError(f"dtype is {manifest.dtype!r}, expected {' or '.join(DTYPES)}")
    if min(manifest.max_length, manifest.stride) < 1:
        raise ValueError(f"max_length {manifest.max_length} and stride {manifest.stride}, expected at least 1")
    for split in SPLITS:
        n_tokens: int = getattr(manifest, f"{split}_tokens")
        stated = getattr(manifest, f"{split}_windows")
        windows = n_windows(n_tokens, manifest.max_length, manifest.stride)
        if windows != stated or not windows:
            raise ValueError(f"{split}_windows is {stated}, but {n_tokens} tokens make {windows}; expected at least 1")
