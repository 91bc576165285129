"""A GPT cut between two blocks: the lower part up to there, and the upper part from there on.

If a training leaves the lower part as it is, what that returns for a text need be computed only once. Shape suffixes
as in gpt.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from scratchlm.model.gpt import GPT, Block


def n_frozen_blocks(model: GPT) -> int:
    """Return how many blocks, from the first, a training will not change; 0 if it changes the embeddings."""
    for number, part in enumerate([nn.ModuleList([model.wte, model.wpe]), *model.h]):
        if any(parameter.requires_grad for parameter in part.parameters()):
            return max(0, number - 1)
    return len(model.h)


def lower_part(model: GPT, ids_BT: Tensor, n_blocks: int, mask: Tensor | None = None) -> Tensor:
    """Return the hidden state of every position after the first `n_blocks` blocks, [B, T, D].

    Ids and `mask` as for `GPT.features`.
    """
    x_BTD = model.embed(ids_BT)
    for block in model.h[:n_blocks]:
        x_BTD = block(x_BTD, mask, None)
    return x_BTD


def upper_part(
    model: GPT, x_BTD: Tensor, n_blocks: int, mask: Tensor | None = None, position_B: Tensor | None = None
) -> Tensor:
    """Return the final hidden states that follow from those after the first `n_blocks` blocks, [B, T, D].

    With `position_B`, int64, return that of one position of each text alone, [B, D]: then the last block, which must be
    above the cut, computes for the other positions no more than a norm.
    """
    *middle, last = cast(Iterable[Block], model.h[n_blocks:])
    for block in middle:
        x_BTD = block(x_BTD, mask, None)
    x = last(x_BTD, mask, None) if position_B is None else last.at(x_BTD, position_B, mask)
    return model.ln_f(x)  # type: ignore[no-any-return]
