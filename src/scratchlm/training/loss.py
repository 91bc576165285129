"""The loss of a language model: cross entropy of the next token (chapter 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from scratchlm.model.gpt import GPT

IGNORED = -100  # a target that does not count, cross entropy's own default


def next_token_loss(model: GPT) -> Callable[[Tensor, Tensor], tuple[Tensor, int]]:
    """Return the loss of a batch: the SUM of the cross entropies of the targets that count, and how many.

    Inputs and targets are [B, T] int64; a target of -100 does not count.
    """

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
        logits_BTV = model(inputs_BT)
        loss_sum = F.cross_entropy(
            logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return loss_sum, int((targets_BT != IGNORED).sum())

    return loss
