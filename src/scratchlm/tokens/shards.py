"""A split's token ids in files of at most 2^27 tokens: written one after the other, read as if they were one array."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchlm.errors import OutputError
from scratchlm.files.atomic import flush

SHARD_TOKENS = 1 << 27  # 256 MiB of uint16: few files even for 100 GB of text


class Shard(NamedTuple):
    """A file of ids, and how many it has."""

    path: Path
    n_tokens: int


def shard_names(split: str, n_shards: int) -> list[str]:
    """Return `train.bin` for the only shard of a split, and `train-00000.bin` and so on where there are several."""
    return [f"{split}.bin"] if n_shards == 1 else [f"{split}-{number:05}.bin" for number in range(n_shards)]


class ShardWriter:
    """Appends ids to a split's shards, after the `n_tokens` that are there; all but the last get `shard_tokens`.

    The names are numbered, as the number of shards is not known before the end.
    """

    def __init__(self, folder: Path, split: str, dtype: np.dtype, shard_tokens: int, n_tokens: int = 0) -> None:
        self.folder, self.split, self.dtype, self.shard_tokens = folder, split, dtype, shard_tokens
        self.n_tokens = n_tokens
        self._unflushed: list[Path] = []
        self._open()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.split}-{number:05}.bin"

    def _open(self) -> None:
        path = self._path(self.n_tokens // self.shard_tokens)
        self._file = path.open("ab")
        self._unflushed.append(path)

    def write(self, ids: np.ndarray) -> None:
        """Append ids [n] of the writer's dtype."""
        while len(ids):
            room = self.shard_tokens - self.n_tokens % self.shard_tokens
            part, ids = ids[:room], ids[room:]
            self._file.write(part.data)
            self.n_tokens += len(part)
            if len(part) == room:
                self._file.close()
                self._open()

    def flush(self) -> None:
        """Wait until all that was written is on the disk."""
        self._file.flush()
        for path in self._unflushed:
            flush(path)
        flush(self.folder)
        del self._unflushed[:-1]  # the last one gets more

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def shards(self) -> list[Shard]:
        """Return the files and how many tokens each has."""
        starts = range(0, self.n_tokens, self.shard_tokens)
        return [
            Shard(self._path(number), min(self.shard_tokens, self.n_tokens - start))
            for number, start in enumerate(starts)
        ]


def cut_back(folder: Path, split: str, dtype: np.dtype, shard_tokens: int, n_tokens: int) -> bool:
    """Cut off what a killed `ShardWriter` wrote after the first `n_tokens`; False if these are not there as a whole.

    A file that has a second name belongs to a finished result, such as DVC's cache: it is neither cut nor continued.
    """
    paths = sorted(folder.glob(f"{split}-*.bin"))
    rest = n_tokens
    for path in paths:
        wanted, found = min(rest, shard_tokens) * dtype.itemsize, path.stat()
        if found.st_size < wanted or found.st_nlink > 1:
            return False
        os.truncate(path, wanted)
        rest -= min(rest, shard_tokens)
    return rest == 0


class TokenIds:
    """The ids in a list of shards as one array, of which slices can be taken; they stay on disk until then.

    A shard has at least one token, and shards may be of different sizes.
    """

    def __init__(self, shards: Sequence[Shard], dtype: str, n_vocab: int) -> None:
        self.paths = [path for path, _ in shards]
        self.n_vocab = n_vocab
        self._shards = [np.asarray(np.memmap(path, dtype, mode="r", shape=(n_tokens,))) for path, n_tokens in shards]
        *self._starts, self._n_tokens = accumulate((n_tokens for _, n_tokens in shards), initial=0)

    def __len__(self) -> int:
        return self._n_tokens

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return consecutive ids, [n] unsigned integers, a view of the file where they are in one.

        Raises OutputError if one of them is not in the vocabulary.
        """
        start, stop, _ = part.indices(self._n_tokens)
        number = bisect_right(self._starts, start) - 1
        found = [self._read(number, start, stop)]
        while (start := start + len(found[-1])) < stop:
            number += 1
            found.append(self._read(number, start, stop))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _read(self, number: int, start: int, stop: int) -> np.ndarray:
        first = self._starts[number]
        ids = self._shards[number][start - first : stop - first]
        # Checking what is read, and not all at the start: that takes minutes where the corpus has 100 GB.
        if len(ids) and (largest := int(ids.max())) >= self.n_vocab:
            raise OutputError(f"{self.paths[number]} holds the id {largest}, expected at most {self.n_vocab - 1}")
        return ids


Ids = np.ndarray | TokenIds
