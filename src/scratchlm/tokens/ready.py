"""Token ids that are ready: another program has tokenized the corpus."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from scratchlm.corpus.ready_tokens import count_ends
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.tokenizer.measures import characters_of_ids
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokens.folder import SPLITS, TokenManifest, write_tokens
from scratchlm.tokens.shards import Shard

READ_TOKENS = 1 << 22
DTYPE = np.dtype("<u2")


def take_tokens(
    paths: Sequence[Path], tokenizer: Tokenizer, folder: Path, max_length: int, stride: int, train_fraction: float
) -> TokenManifest:
    """Make `folder` of files of ids, little-endian uint16; the first `train_fraction` of the tokens is for training.

    Each file is a shard under a second name; the one in which training ends is copied in two parts. All ids are read
    once. Raises InputError if one is not in the vocabulary, or if a split is shorter than one window.
    """
    sizes = [path.stat().st_size // DTYPE.itemsize for path in paths]
    train_tokens = int(train_fraction * sum(sizes))
    characters_of = characters_of_ids(tokenizer)
    documents = characters = 0
    unknown = dict.fromkeys(SPLITS, 0)
    last = tokenizer.eot_token
    shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        parts = temporary / "parts"
        parts.mkdir()
        position = 0
        for path, size in zip(paths, sizes, strict=True):
            room = min(max(0, train_tokens - position), size)
            position += size
            for split, start, stop in zip(SPLITS, (0, room), (room, size), strict=True):
                if start == stop:
                    continue
                copy = None if stop - start == size else parts / f"{split}.bin"
                shards[split].append(Shard(copy or path, stop - start))
                for ids in read_ids(path, start, stop):
                    if (largest := int(ids.max())) >= tokenizer.n_vocab:
                        raise InputError(
                            f"{path} holds the id {largest}, but the tokenizer has {tokenizer.n_vocab} tokens: give "
                            "ids of that tokenizer, as little-endian uint16"
                        )
                    documents += count_ends(ids, last, tokenizer.eot_token)
                    characters += int(characters_of[ids].sum())
                    if tokenizer.unk_token is not None:
                        unknown[split] += int(np.count_nonzero(ids == tokenizer.unk_token))
                    last = int(ids[-1])
                    if copy:
                        with copy.open("ab") as file:
                            file.write(ids.data)
        manifest = write_tokens(
            temporary,
            shards,
            documents=documents + (last != tokenizer.eot_token),
            characters=characters,
            tokens=sum(sizes),
            unknown=unknown,
            vocab_size=tokenizer.n_vocab,
            max_length=max_length,
            stride=stride,
            dtype=DTYPE,
        )
        shutil.rmtree(parts)
    return manifest


def read_ids(path: Path, start: int, stop: int) -> Iterator[np.ndarray]:
    """Yield the ids of a file from `start` to `stop`, [n] uint16, about 8 MB at a time."""
    for first in range(start, stop, READ_TOKENS):
        yield np.fromfile(path, DTYPE, min(READ_TOKENS, stop - first), offset=first * DTYPE.itemsize)
