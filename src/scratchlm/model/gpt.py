"""The GPT of chapters 3 and 4, its parts in the order in which they are composed.

Shape suffixes: B batch, T tokens of this call, S tokens in view (cache included), D emb_dim, H n_heads,
K head_dim = D / H, V vocab_size.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.model.attention import MultiHeadAttention
from scratchlm.model.config import Activation, AttentionKind, GPTConfig
from scratchlm.model.kv_cache import AnyCache, AnyLayerCache
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.linear import Linear


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, four times as wide inside (chapter 4.3)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.c_fc = Linear(config.emb_dim, 4 * config.emb_dim)
        self.c_proj = Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.c_proj(activate(self.c_fc(x_BTD), self.activation))  # type: ignore[no-any-return]


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the activation function, any shape (chapter 4.3).

    GPT-2 was trained with the tanh form of GELU; the exact form would change its logits.
    """
    if activation == "relu":
        return F.relu(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class Block(nn.Module):
    """A pre-norm transformer block with two shortcut connections (chapter 4.5).

    Without shortcuts (chapter 4.4) a model hardly learns: queries and keys get almost no gradient.
    """

    def __init__(self, config: GPTConfig, attention: AttentionKind) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.emb_dim)
        self.attn = MultiHeadAttention(config.emb_dim, config.n_heads, config.drop_rate, config.qkv_bias, attention)
        self.ln_2 = nn.LayerNorm(config.emb_dim)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.drop_rate)
        self.shortcuts = config.shortcuts

    def forward(self, x_BTD: Tensor, mask: Tensor | None, cache: AnyLayerCache | None) -> Tensor:
        return self._after_attention(x_BTD, self.attn(self.ln_1(x_BTD), mask, cache))

    def at(self, x_BTD: Tensor, position_B: Tensor, mask: Tensor | None) -> Tensor:
        """Return what `forward` does at one position of each text, [B] int64, and compute only that: [B, D].

        Without dropout of the attention weights.
        """
        attended_BD = self.attn.at(self.ln_1(x_BTD), position_B, mask)
        return self._after_attention(x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), position_B], attended_BD)

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = self.dropout(attended)
        x = x + attended if self.shortcuts else attended
        fed: Tensor = self.dropout(self.mlp(self.ln_2(x)))
        return x + fed if self.shortcuts else fed


class GPT(LanguageModel):
    """The GPT of the book, whose modules have GPT-2's names. What a token is and where it stands are added up."""

    config: GPTConfig

    def __init__(self, config: GPTConfig, attention: AttentionKind = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.emb_dim)
        self.wpe = nn.Embedding(config.context_length, config.emb_dim)
        self.dropout = nn.Dropout(config.drop_rate)
        self.h = nn.ModuleList(Block(config, attention) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.emb_dim)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.emb_dim, config.vocab_size, bias=False)

    def embed(self, ids_BT: Tensor, positions_BT: Tensor | None = None, start: int = 0) -> Tensor:
        """Return the embeddings of tokens and positions, which count from `start` if they are not given, [B, T, D]."""
        if positions_BT is None:
            positions_BT = torch.arange(start, start + ids_BT.shape[1], device=ids_BT.device)
        x_BTD: Tensor = self.dropout(self.wte(ids_BT) + self.wpe(positions_BT))
        if x_BTD.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
            # So are the sums along the shortcuts: half the bytes to move. A step of GPT-2 124M on an H100 took 6 % less
            # time. On a CPU they stay float32.
            return x_BTD.to(torch.get_autocast_dtype("cuda"))
        return x_BTD

    def run_blocks(
        self,
        x_BTD: Tensor,
        first: int = 0,
        end: int | None = None,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: AnyCache | None = None,
    ) -> Tensor:
        """Return the hidden states after some blocks; see `LanguageModel`. Positions are in the embeddings already."""
        for layer, block in enumerate(self.h[first:end], first):
            x_BTD = block(x_BTD, mask, cache.layer(layer) if cache is not None else None)
        return x_BTD

    def last_block_at(self, x_BTD: Tensor, position_B: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the last block does at one position of each text; see `LanguageModel`."""
        return cast(Block, self.h[-1]).at(x_BTD, position_B, mask)
