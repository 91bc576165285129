"""The tokenized corpus on disk: ids in memory-mapped files, read as sliding windows (chapter 2.6).

`data/tokens/` holds `train.bin` and `validation.bin` (little-endian uint16, or uint32 for a vocabulary over
65,536) and `manifest.json` with max_length and stride. A split of more than 2^27 tokens is cut into `train-00000.bin`
and so on, whose sizes are in the manifest. Window i starts at token i * stride, so overlapping windows need no copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_json
from scratchlm.files.links import link_or_copy
from scratchlm.tokens.shards import Shard, TokenIds, shard_names

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
        names = shard_names(split, len(sizes))
        shards = [Shard(self.path / name, size) for name, size in zip(names, sizes, strict=True)]
        for path, size in shards:
            wanted, got = size * np.dtype(manifest.dtype).itemsize, path.stat().st_size if path.exists() else 0
            if got != wanted:
                raise OutputError(f"{path} has {got:,} bytes, expected {wanted:,}")
        return TokenIds(shards, manifest.dtype, manifest.vocab_size)

    def check_vocabulary(self, n_vocab: int) -> None:
        """Raise OutputError if the ids are not those of a tokenizer with `n_vocab` tokens."""
        vocab_size = self.manifest.vocab_size
        if vocab_size != n_vocab:
            raise OutputError(f"{self.path} was made with {vocab_size} tokens, the tokenizer has {n_vocab}")


def n_windows(n_tokens: int, max_length: int, stride: int) -> int:
    """Count the windows of `max_length` tokens that have a target for every token."""
    return len(range(0, n_tokens - max_length, stride))


def write_tokens(
    folder: Path,
    shards: Mapping[str, Sequence[Shard]],
    *,
    documents: int,
    characters: int,
    tokens: int,
    unknown: Mapping[str, int],
    vocab_size: int,
    max_length: int,
    stride: int,
    dtype: np.dtype,
) -> TokenManifest:
    """Fill a new folder with the shards of each split, which get a second name there, and their manifest.

    `unknown` counts the tokens `<|unk|>` in each split. Raises InputError if a split is shorter than one window.
    """
    counts = {split: sum(n_tokens for _, n_tokens in shards[split]) for split in SPLITS}
    windows = {split: n_windows(counts[split], max_length, stride) for split in SPLITS}
    for split in SPLITS:
        if not windows[split]:
            raise InputError(
                f"the {split} part of the corpus has {counts[split]} tokens, a window needs "
                f"windows.max_length + 1 = {max_length + 1}: use a longer corpus, a smaller "
                "windows.max_length or another windows.train_fraction"
            )
        for (path, _), name in zip(shards[split], shard_names(split, len(shards[split])), strict=True):
            link_or_copy(path, folder / name)
    manifest = TokenManifest(
        documents=documents,
        characters=characters,
        tokens=tokens,
        train_tokens=counts["train"],
        validation_tokens=counts["validation"],
        train_windows=windows["train"],
        validation_windows=windows["validation"],
        train_unknown_percent=100 * unknown["train"] / counts["train"],
        validation_unknown_percent=100 * unknown["validation"] / counts["validation"],
        vocab_size=vocab_size,
        max_length=max_length,
        stride=stride,
        dtype=dtype.str,
        shards={split: [n_tokens for _, n_tokens in shards[split]] for split in SPLITS if len(shards[split]) > 1},
    )
    fields = asdict(manifest)
    if not manifest.shards:
        del fields["shards"]
    write_json(folder / MANIFEST, fields)
    return manifest


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
