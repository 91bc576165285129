"""Windows over token ids as training examples (chapter 2.6)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scratchlm.tokens.folder import SPLITS, TokenFolder, n_windows
from scratchlm.tokens.shards import Ids
from scratchlm.training.loaders import Loaders, loaders


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Sliding windows over token ids: item i is (inputs, targets), each [max_length] int64.

    The targets are the inputs shifted by one token. `__getitems__` reads a whole batch at once.
    """

    def __init__(self, ids: Ids, max_length: int, stride: int) -> None:
        self.ids, self.max_length, self.stride = ids, max_length, stride

    def __len__(self) -> int:
        return n_windows(len(self.ids), self.max_length, self.stride)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.__getitems__([range(len(self))[index]])
        return inputs[0], targets[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        block = np.empty((len(indices), self.max_length + 1), dtype=np.int64)  # [B, T + 1]
        for row, index in zip(block, indices, strict=True):
            start = index * self.stride
            row[:] = self.ids[start : start + self.max_length + 1]
        ids = torch.from_numpy(block)
        return ids[:, :-1], ids[:, 1:]


def read_windows(tokens: TokenFolder, split: str) -> Windows:
    """Return the windows of a split."""
    return Windows(tokens.ids(split), tokens.manifest.max_length, tokens.manifest.stride)


def window_loaders(tokens: TokenFolder, batch_size: int) -> Loaders:
    """Return the windows of both splits in batches, [batch_size, max_length] int64 each."""
    train, validation = (read_windows(tokens, split) for split in SPLITS)
    # `Windows` returns whole batches: there is nothing to collate.
    return loaders(train, validation, batch_size, collate=lambda batch: batch)
