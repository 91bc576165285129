"""Keys and values of earlier tokens, so that a new token is computed alone and not with the whole text."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor


class LayerCache(NamedTuple):
    """One block's keys and values, [B, G, capacity, K]; `length` and `columns` as in `KVCache`."""

    keys: Tensor
    values: Tensor
    length: int
    columns: Tensor | None = None

    def append(self, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values; return all that are in view, each [B, G, S, K]."""
        end = self.length + k_BGTK.shape[2]
        if self.columns is None:
            self.keys[:, :, self.length : end] = k_BGTK
            self.values[:, :, self.length : end] = v_BGTK
        else:
            self.keys.scatter_(2, self.columns.expand_as(k_BGTK), k_BGTK)
            self.values.scatter_(2, self.columns.expand_as(v_BGTK), v_BGTK)
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """The cache of all blocks; shape suffixes as in llama.py.

    `keys` and `values` are [n_layers, B, G, capacity, K], of G heads of keys and values, which in GPT-2 are all H; the
    first `length` of the capacity are in use. If the texts differ in length, and `length` is that of the longest, then
    `columns` says where the one new token of each goes, [B, 1, 1, 1] int64.
    """

    columns: Tensor | None = None

    def __init__(
        self,
        n_layers: int,
        batch_size: int,
        n_kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (n_layers, batch_size, n_kv_heads, capacity, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def layer(self, index: int) -> LayerCache:
        """Return one block's part of the cache; writes reach this cache."""
        return LayerCache(self.keys[index], self.values[index], self.length, self.columns)

    def part(self, first_row: int, last_row: int, first_column: int) -> KVCache:
        """Return a view of rows [first, last) from a column on, of length 0; writes reach this cache."""
        part = copy(self)
        part.keys = self.keys[:, first_row:last_row, :, first_column:]
        part.values = self.values[:, first_row:last_row, :, first_column:]
        part.length = 0
        return part

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only the sequences in `rows` ([n] int64), so that finished ones cost nothing."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class SharedStart:
    """Keys and values of the tokens with which all texts of a batch begin; gradients flow back through them.

    It is used as a cache twice: first with the start alone, one row, then with what follows in every text.
    """

    def __init__(self, n_layers: int) -> None:
        self.layers = [SharedLayer() for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """The number of tokens of the start: 0 until it was computed up to the last block."""
        start = self.layers[-1].start  # the first blocks may be left out
        return start[0].shape[2] if start is not None else 0

    def layer(self, index: int) -> SharedLayer:
        """Return one block's part."""
        return self.layers[index]


def n_alike(ids_BT: Tensor) -> int:
    """Return with how many tokens all texts of a batch begin."""
    return int((ids_BT == ids_BT[0]).all(dim=0).long().cumprod(0).sum())


class SharedLayer:
    """One block's keys and values of a shared start, each [1, G, S, K]; None before the start was computed."""

    def __init__(self) -> None:
        self.start: tuple[Tensor, Tensor] | None = None

    def append(self, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of the start; put them before those of every text that follows it."""
        if self.start is None:
            self.start = k_BGTK, v_BGTK
            return self.start
        k, v = (
            torch.cat([start.expand(len(new), -1, -1, -1), new], dim=2)
            for start, new in zip(self.start, (k_BGTK, v_BGTK), strict=True)
        )
        return k, v


AnyCache = KVCache | SharedStart
AnyLayerCache = LayerCache | SharedLayer
