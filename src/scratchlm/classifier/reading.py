"""How a classifier reads a text: which token tells the label, what padding there is, and what a token may see.

The published variants of chapter 6's classifier differ in these. Shape suffixes as in model/gpt.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import default_collate

from scratchlm.params.choices import Padding, Token, sees_padding

NO_TOKEN = -1  # the padding of texts that have none


@dataclass(frozen=True)
class Reading:
    """The choices of a classifier that decide which features of a text its head gets; by default the book's.

    Texts are ids, filled up on the right with `pad_id`. Ordinary encoding never yields that token, so the real length
    of a text follows from its ids; an empty text counts as one token. With `padding` none, the texts of a batch are
    filled up only to each other, and nothing sees it: `token` last and mean are then those of the real tokens.
    """

    token: Token = "last"
    padding: Padding = "longest"
    causal_mask: bool = True
    pad_id: int = NO_TOKEN

    def lengths(self, ids_BT: Tensor) -> Tensor:
        """Return the number of real tokens of each text, [B] int64."""
        return (ids_BT != self.pad_id).sum(dim=1).clamp(min=1)

    def trim(self, ids_BT: Tensor) -> Tensor:
        """Return the ids without the last columns that can change no label, which are padding that is not seen."""
        if self.sees_padding:
            return ids_BT
        return ids_BT[:, : int(self.n_needed(ids_BT).max())]

    def collate(self, messages: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Put messages, each ids [T] and a label, into one batch: ids [B, T], trimmed, and labels [B]."""
        ids_BT, labels_B = default_collate(list(messages))
        return self.trim(ids_BT), labels_B

    def mask(self, ids_BT: Tensor) -> Tensor | None:
        """Return which tokens may be seen, bool, broadcastable to [B, 1, T, T]; None for all that come before."""
        if self.causal_mask:
            return None  # hides all padding on the right from the tokens before it
        if self.padding == "none":
            return self._is_real(ids_BT)[:, None, None]
        T = ids_BT.shape[1]
        return torch.ones(1, 1, T, T, dtype=torch.bool, device=ids_BT.device)

    def position(self, ids_BT: Tensor) -> Tensor | None:
        """Return the position of the token that tells the label, [B] int64; None if the mean over tokens does."""
        if self.token in ("mean", "mean_real"):
            return None
        if self.token == "first":
            return torch.zeros_like(ids_BT[:, 0])
        if self.token == "last" and self.padding != "none":
            return torch.full_like(ids_BT[:, 0], ids_BT.shape[1] - 1)
        return self.lengths(ids_BT) - 1

    def choose(self, features_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        """Return the features of the token that tells the label, or the mean over tokens, [B, D]."""
        position_B = self.position(ids_BT)
        if position_B is not None:
            return features_BTD[torch.arange(len(ids_BT), device=ids_BT.device), position_B]
        if self.token == "mean" and self.padding != "none":
            return features_BTD.mean(dim=1)
        return (features_BTD * self._is_real(ids_BT)[:, :, None]).sum(dim=1) / self.lengths(ids_BT)[:, None]

    def n_needed(self, ids_BT: Tensor) -> Tensor:
        """Return how many tokens of each text, from the first, can change its label, [B] int64."""
        if self.causal_mask and self.token == "first":
            return torch.ones_like(ids_BT[:, 0])
        if self.sees_padding:
            return torch.full_like(ids_BT[:, 0], ids_BT.shape[1])
        return self.lengths(ids_BT)

    @property
    def sees_padding(self) -> bool:
        """Whether the padding of a text can change its label."""
        return sees_padding(self.token, self.padding, self.causal_mask)

    def _is_real(self, ids_BT: Tensor) -> Tensor:
        # By the length, not by the id: the one token of an empty text is padding.
        return torch.arange(ids_BT.shape[1], device=ids_BT.device) < self.lengths(ids_BT)[:, None]


BOOK = Reading()
