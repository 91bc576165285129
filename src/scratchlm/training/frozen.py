"""A language model whose frozen blocks are computed once: only the blocks above them work at every step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from scratchlm.model.cut import lower_part, n_frozen_blocks
from scratchlm.model.head_loss import Reduction
from scratchlm.model.language_model import LanguageModel
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.features import Features, compute_features


class UpperModel(nn.Module):
    """The part of a language model above its frozen blocks: the same logits of the same ids, for texts with features.

    The features of a text are the hidden states of its tokens after `n_lower` blocks.
    """

    def __init__(self, model: LanguageModel, features: Features, n_lower: int) -> None:
        super().__init__()
        self.model, self.features, self.n_lower = model, features, n_lower

    def forward(
        self,
        ids_BT: Tensor,
        chosen_N: Tensor,
        n_shared: int = 0,
        targets_N: Tensor | None = None,
        reduction: Reduction = "sum",
    ) -> Tensor:
        """Return the logits of N of the B * T positions, [N, V], or their loss; see `LanguageModel.forward`.

        The text of a row ends at its last chosen position, as what follows changes no logits; no row is without one.
        Its features are looked up by its ids on the CPU: with a GPU, this waits for them to come back.
        """
        B, T = ids_BT.shape
        row_N, column_N = chosen_N // T, chosen_N % T
        length_B = torch.zeros(B, dtype=torch.int64, device=row_N.device)
        length_B = length_B.scatter_reduce(0, row_N, column_N + 1, "amax")
        texts = [ids_T[:n] for ids_T, n in zip(ids_BT.cpu(), length_B.tolist(), strict=True)]
        x_BTD = self.features.of(texts).to(self.model.device)
        features_ND = self.model.chosen_features(x_BTD, row_N, column_N, n_shared, self.n_lower)
        if targets_N is None:
            return self.model.head(features_ND)
        return self.model.head_loss(features_ND, targets_N, reduction)


def with_stored_features(model: LanguageModel, texts: Iterable[Tensor], snapshots: Snapshots) -> nn.Module:
    """Compute what the frozen blocks make of all texts, each ids [T] int64, and return the rest of the model.

    Returns the model itself if that would not help: no block is frozen, or dropout changes what the frozen ones
    return. Raises InputError and Interrupted as `compute_features` does.
    """
    n_lower = n_frozen_blocks(model)
    if not n_lower or model.config.drop_rate:
        return model

    def compute(batch: list[Tensor]) -> Tensor:
        return lower_part(model, pad_sequence(batch, batch_first=True).to(model.device), n_lower)

    return UpperModel(model, compute_features(texts, model.config.emb_dim, compute, snapshots), n_lower)
