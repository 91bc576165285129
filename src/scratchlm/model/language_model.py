"""What every language model of the project is, whatever its architecture: embedding, blocks, a norm, and a head.

Shape suffixes as in gpt.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scratchlm.model.config import ModelConfig
from scratchlm.model.head_loss import (
    OfPart,
    Reduction,
    cross_entropy,
    is_in_parts,
    loss_in_parts,
    loss_of_part,
    losses_in_parts,
)
from scratchlm.model.kv_cache import AnyCache, KVCache, SharedStart
from scratchlm.model.linear import Linear, linear


class LanguageModel(nn.Module):
    """Token ids in, logits of the next token out (chapter 4.6): a `GPT` or a `Llama`.

    An architecture makes the modules `wte`, `h`, `ln_f` and, unless the head is tied, `lm_head`, and says how tokens
    are embedded and how blocks are computed. A tied head has no parameter of its own: it uses the token embedding.
    """

    config: ModelConfig
    wte: nn.Embedding
    h: nn.ModuleList
    ln_f: nn.Module
    lm_head: Linear
    loss_of_part: OfPart = staticmethod(loss_of_part)  # a compiled model has a compiled one

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def embed(self, ids_BT: Tensor, positions_BT: Tensor | None = None, start: int = 0) -> Tensor:
        """Return what the first block gets of tokens whose positions count from `start` if not given, [B, T, D]."""
        raise NotImplementedError

    def run_blocks(
        self,
        x_BTD: Tensor,
        first: int = 0,
        end: int | None = None,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: AnyCache | None = None,
    ) -> Tensor:
        """Return the hidden states after blocks `first` to `end` (all that follow if None), [B, T, D].

        Without `positions_BT` they continue from the cache. `mask` as for `features`.
        """
        raise NotImplementedError

    def last_block_at(self, x_BTD: Tensor, position_B: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the last block does at one position of each text, [B] int64, and compute only that: [B, D].

        Without dropout of the attention weights.
        """
        raise NotImplementedError

    def features(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the final hidden state of every position, [B, T, D].

        `ids_BT` is int64. Without `positions_BT`, positions continue from the cache. `mask` is bool,
        broadcastable to [B, 1, T, S], True where a token may look. Without it, attention is causal.
        """
        x_BTD = self.embed(ids_BT, positions_BT, cache.length if cache is not None else 0)
        x_BTD = self.run_blocks(x_BTD, positions_BT=positions_BT, mask=mask, cache=cache)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        return self.ln_f(x_BTD)  # type: ignore[no-any-return]

    def new_cache(self, batch_size: int, capacity: int) -> KVCache:
        """Return an empty cache for `batch_size` texts of up to `capacity` tokens."""
        config = self.config
        shape = (config.n_layers, batch_size, config.n_cached_heads, capacity, config.head_dim)
        return KVCache(*shape, self.wte.weight.dtype, self.device)

    def head(self, x_BTD: Tensor) -> Tensor:
        """Turn hidden states into logits, [..., D] to [..., V]."""
        if self.config.tie_embeddings:
            return linear(x_BTD, self.wte.weight)
        return self.lm_head(x_BTD)  # type: ignore[no-any-return]

    def forward(
        self,
        ids_BT: Tensor,
        chosen_N: Tensor | None = None,
        n_shared: int = 0,
        targets_N: Tensor | None = None,
        reduction: Reduction = "sum",
    ) -> Tensor:
        """Return the logits of the next token at every position, [B, T, V].

        With `chosen_N`, int64, return those of N of the B * T positions alone, [N, V]: the logits are the largest
        tensor of all. If all texts begin with the same `n_shared` tokens, and none of these is chosen, they are
        computed only once. With `targets_N`, int64, return the loss of the N positions instead; see `head_loss`.
        """
        if chosen_N is None:
            return self.head(self.features(ids_BT))
        T = ids_BT.shape[1]
        features_ND = self.chosen_features(self.embed(ids_BT), chosen_N // T, chosen_N % T, n_shared)
        return self.head(features_ND) if targets_N is None else self.head_loss(features_ND, targets_N, reduction)

    def head_loss(self, x_ND: Tensor, targets_N: Tensor, reduction: Reduction = "sum") -> Tensor:
        """Return the cross entropy of N next tokens, int64, after these hidden states: the sum, or each, [N].

        It is float32 or wider. Not all logits are in memory at a time.
        """
        weight_VD = self.wte.weight if self.config.tie_embeddings else self.lm_head.weight
        if not is_in_parts(x_ND, weight_VD):
            return cross_entropy(self.head(x_ND), targets_N, reduction)
        has_lora = not self.config.tie_embeddings and self.lm_head.lora is not None
        if reduction == "sum" and not has_lora:
            return loss_in_parts(x_ND, weight_VD, targets_N, self.loss_of_part)
        losses_N = losses_in_parts(x_ND, targets_N, self.head, len(weight_VD))
        return losses_N.sum() if reduction == "sum" else losses_N

    def chosen_features(
        self, x_BTD: Tensor, row_N: Tensor, column_N: Tensor, n_shared: int = 0, first: int = 0
    ) -> Tensor:
        """Return the final hidden states of N positions, given as text and place in it, [N, D].

        `x_BTD` is what block `first` gets, `n_shared` as for `forward`.
        """
        if self.training and self.config.drop_rate:
            n_shared = 0  # dropout is another one in each text
        features_BTD = self.features_after_start(x_BTD, n_shared, first)
        chosen_N = row_N * features_BTD.shape[1] + column_N - n_shared
        return features_BTD.flatten(0, 1).index_select(0, chosen_N)

    def features_after_start(self, x_BTD: Tensor, n_shared: int, first: int = 0) -> Tensor:
        """Return the final hidden states after the first `n_shared` tokens, which are the same in all texts.

        From what block `first` gets, [B, T, D], to [B, T - n_shared, D]; the shared tokens go through the blocks once,
        as one text.
        """
        if not n_shared:
            return self.ln_f(self.run_blocks(x_BTD, first))  # type: ignore[no-any-return]
        start = SharedStart(self.config.n_layers)
        self.run_blocks(x_BTD[:1, :n_shared], first, cache=start)
        return self.ln_f(self.run_blocks(x_BTD[:, n_shared:], first, cache=start))  # type: ignore[no-any-return]


def n_parameters(model: nn.Module) -> int:
    """Count the parameters; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
