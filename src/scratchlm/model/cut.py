"""A language model cut between two blocks: the lower part up to there, and the upper part from there on.

If a training leaves the lower part as it is, what that returns for a text need be computed only once. Shape suffixes
as in gpt.py.
"""

from __future__ import annotations

from torch import Tensor, nn

from scratchlm.model.language_model import LanguageModel


def n_frozen_blocks(model: LanguageModel) -> int:
    """Return how many blocks, from the first, a training will not change; 0 if it changes the embeddings."""
    below = [part for name, part in model.named_children() if name not in ("h", "ln_f", "lm_head")]
    for number, part in enumerate([nn.ModuleList(below), *model.h]):
        if any(parameter.requires_grad for parameter in part.parameters()):
            return max(0, number - 1)
    return len(model.h)


def train_upper_blocks(model: LanguageModel, n_blocks: int) -> None:
    """Freeze all but the last `n_blocks` blocks and the final norm."""
    model.requires_grad_(False)
    for part in [*model.h[len(model.h) - n_blocks :], model.ln_f]:
        part.requires_grad_(True)


def lower_part(model: LanguageModel, ids_BT: Tensor, n_blocks: int, mask: Tensor | None = None) -> Tensor:
    """Return the hidden state of every position after the first `n_blocks` blocks, [B, T, D].

    Ids and `mask` as for `LanguageModel.features`.
    """
    return model.run_blocks(model.embed(ids_BT), end=n_blocks, mask=mask)


def upper_part(
    model: LanguageModel, x_BTD: Tensor, n_blocks: int, mask: Tensor | None = None, position_B: Tensor | None = None
) -> Tensor:
    """Return the final hidden states that follow from those after the first `n_blocks` blocks, [B, T, D].

    With `position_B`, int64, return that of one position of each text alone, [B, D]: then the last block, which must be
    above the cut, computes for the other positions no more than a norm.
    """
    if position_B is None:
        return model.ln_f(model.run_blocks(x_BTD, n_blocks, mask=mask))  # type: ignore[no-any-return]
    x_BTD = model.run_blocks(x_BTD, n_blocks, len(model.h) - 1, mask=mask)
    return model.ln_f(model.last_block_at(x_BTD, position_B, mask))  # type: ignore[no-any-return]
