"""Windows over token ids as training examples (chapter 2.6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scratchlm.tokens.folder import n_windows, read_ids, read_manifest


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Sliding windows over token ids: item i is (inputs, targets), each [max_length] int64.

    The targets are the inputs one token later. A list of indices gives a batch in one gather.
    """

    def __init__(self, ids: np.ndarray, max_length: int, stride: int) -> None:
        self.ids, self.max_length, self.stride = ids, max_length, stride

    def __len__(self) -> int:
        return n_windows(len(self.ids), self.max_length, self.stride)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.__getitems__([range(len(self))[index]])
        return inputs[0], targets[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        starts = np.asarray(indices, dtype=np.int64) * self.stride
        block = self.ids[starts[:, None] + np.arange(self.max_length + 1)]  # [B, T + 1]
        ids = torch.from_numpy(block.astype(np.int64))
        return ids[:, :-1], ids[:, 1:]


def read_windows(folder: Path, split: str) -> Windows:
    """Open a split of a token folder as a dataset of windows."""
    manifest = read_manifest(folder)
    return Windows(read_ids(folder, split), manifest.max_length, manifest.stride)
