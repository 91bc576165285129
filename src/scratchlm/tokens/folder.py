"""The tokenized corpus on disk: ids in memory-mapped files, read as sliding windows (chapter 2.6).

`data/tokens/` holds `train.bin` and `validation.bin` (little-endian uint16, or uint32 for a vocabulary over
65,536) and `manifest.json` with max_length and stride. A split of more than 2^27 tokens is cut into `train-00000.bin`
and so on, whose sizes are in the manifest. Window i starts at token i * stride, so overlapping windows need no copies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from scratchlm.errors import OutputError
from scratchlm.files.atomic import write_json
from scratchlm.tokens.shards import TokenIds, shard_names

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
    shards: dict[str, list[int]] = field(default_factory=dict)  # tokens of each file of a split that has several


@dataclass(frozen=True)
class TokenFolder:
    """An opened `data/tokens/`: its manifest, and its ids, which stay on disk until they are read."""

    path: Path
    manifest: TokenManifest

    def ids(self, split: str) -> TokenIds:
        """Map a split's token ids into memory, without reading them.

        Raises OutputError if the size of a file does not match the manifest.
        """
        manifest = self.manifest
        n_tokens = manifest.train_tokens if split == "train" else manifest.validation_tokens
        sizes = manifest.shards.get(split, [n_tokens])
        paths = [self.path / name for name in shard_names(split, len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            wanted, got = size * np.dtype(manifest.dtype).itemsize, path.stat().st_size if path.exists() else 0
            if got != wanted:
                raise OutputError(f"{path} has {got:,} bytes, expected {wanted:,}")
        return TokenIds(list(zip(paths, sizes, strict=True)), manifest.dtype, manifest.vocab_size)

    def check_vocabulary(self, n_vocab: int) -> None:
        """Raise OutputError if the ids are not those of a tokenizer with `n_vocab` tokens."""
        vocab_size = self.manifest.vocab_size
        if vocab_size != n_vocab:
            raise OutputError(f"{self.path} was made with {vocab_size} tokens, the tokenizer has {n_vocab}")


def n_windows(n_tokens: int, max_length: int, stride: int) -> int:
    """Count the windows of `max_length` tokens that have a target for every token."""
    return len(range(0, n_tokens - max_length, stride))


def write_manifest(folder: Path, manifest: TokenManifest) -> None:
    """Write manifest.json; where each split is one file, nothing is said of shards."""
    fields = asdict(manifest)
    if not manifest.shards:
        del fields["shards"]
    write_json(folder / MANIFEST, fields)


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
        sizes = manifest.shards.get(split, [n_tokens])
        if sum(sizes) != n_tokens or min(sizes, default=0) < 1:
            raise ValueError(f"shards of {split} have {sum(sizes)} tokens, expected {n_tokens} and none without")
