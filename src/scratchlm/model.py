"""The GPT of chapters 3 and 4: one file, its parts in the order in which they are composed.

Shape suffixes: B batch, T tokens of this call, S tokens in view (cache included), D emb_dim, H n_heads,
K head_dim = D / H, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GPT2_STD = 0.02  # of GPT-2's random start, at widths of 768 and more


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT, in the book's names (chapter 4.1)."""

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    drop_rate: float = 0.0
    qkv_bias: bool = True
    tie_embeddings: bool = True


class KVCache:
    """Keys and values of the tokens already seen, so that a new token costs one row, not the whole text.

    `keys` and `values` are [n_layers, B, H, capacity, K]; the first `length` of the capacity are in use.
    """

    def __init__(
        self, config: GPTConfig, batch_size: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        head_dim = config.emb_dim // config.n_heads
        shape = (config.n_layers, batch_size, config.n_heads, capacity, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def append(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values and return all in view, each [B, H, S, K]."""
        end = self.length + k_BHTK.shape[2]
        self.keys[layer, :, :, self.length : end] = k_BHTK
        self.values[layer, :, :, self.length : end] = v_BHTK
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def keep_rows(self, rows: Tensor) -> None:
        """Drop every sequence but `rows` ([n] int64), so that finished ones cost nothing."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class CausalSelfAttention(nn.Module):
    """Multi-head causal attention with query, key and value in one product (chapter 3.6)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.drop_rate = config.drop_rate
        self.c_attn = nn.Linear(config.emb_dim, 3 * config.emb_dim, bias=config.qkv_bias)
        self.c_proj = nn.Linear(config.emb_dim, config.emb_dim)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.n_heads, D // self.n_heads).transpose(1, 2)  # [B, H, T, K]
            for part in self.c_attn(x_BTD).split(D, dim=-1)
        )
        if cache is not None:
            k, v = cache.append(layer, k, v)  # [B, H, S, K]
        y_BHTK = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.drop_rate if self.training else 0.0,
            is_causal=mask is None and T > 1,  # one new token sees everything before it
        )
        return self.c_proj(y_BHTK.transpose(1, 2).reshape(B, T, D))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside (chapter 4.3)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.c_proj = nn.Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        # GPT-2 was trained with the tanh form; the exact GELU would change its logits.
        return self.c_proj(F.gelu(self.c_fc(x_BTD), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block with two shortcut connections (chapter 4.5)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.emb_dim)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.emb_dim)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.drop_rate)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attn(self.ln_1(x_BTD), mask, cache, layer))
        return x_BTD + self.dropout(self.mlp(self.ln_2(x_BTD)))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """Token ids in, logits of the next token out (chapter 4.6); modules carry GPT-2's own names.

    A tied head is no parameter of its own: the logits are taken with the token embedding.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.emb_dim)
        self.wpe = nn.Embedding(config.context_length, config.emb_dim)
        self.dropout = nn.Dropout(config.drop_rate)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.emb_dim)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.emb_dim, config.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def features(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the final hidden state of every position, [B, T, D].

        `ids_BT` is int64. Without `positions_BT` the tokens count on from the cache. `mask` is bool,
        broadcastable to [B, H, T, S], True where a token may look; without it, attention is causal.
        """
        start = cache.length if cache is not None else 0
        if positions_BT is None:
            positions_BT = torch.arange(start, start + ids_BT.shape[1], device=ids_BT.device)
        x_BTD = self.dropout(self.wte(ids_BT) + self.wpe(positions_BT))
        for layer, block in enumerate(self.h):
            x_BTD = block(x_BTD, mask, cache, layer)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        return self.ln_f(x_BTD)  # type: ignore[no-any-return]

    def head(self, x_BTD: Tensor) -> Tensor:
        """Turn hidden states into logits, [..., D] to [..., V]."""
        return F.linear(x_BTD, self.wte.weight if self.config.tie_embeddings else self.lm_head.weight)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of the next token at every position, [B, T, V]."""
        return self.head(self.features(ids_BT))


def empty_gpt(config: GPTConfig) -> GPT:
    """Build a GPT whose parameters are allocated but not set, for a caller that fills every one of them."""
    with torch.device("meta"):
        model = GPT(config)
    return model.to_empty(device="cpu")


def new_gpt(config: GPTConfig, init: Literal["book", "gpt2"], init_std: float = GPT2_STD) -> GPT:
    """Build a GPT with random weights from torch's global generator.

    `book` draws as the book's code does: torch's default init, query, key and value apart, the head last.
    `gpt2` draws normal(0, init_std), the two projections onto the shortcut scaled by 1/sqrt(2 n_layers), biases 0
    (Radford et al. 2019, section 2.3).
    """
    model = empty_gpt(config)
    if init == "book":
        _init_as_the_book(model)
    else:
        _init_as_gpt2(model, init_std)
    return model


def _init_as_the_book(model: GPT) -> None:
    model.wte.reset_parameters()
    model.wpe.reset_parameters()
    for block in cast(Iterable[Block], model.h):
        _init_query_key_value_apart(block.attn.c_attn)
        for linear in (block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            linear.reset_parameters()
        block.ln_1.reset_parameters()
        block.ln_2.reset_parameters()
    model.ln_f.reset_parameters()
    if not model.config.tie_embeddings:
        model.lm_head.reset_parameters()


@torch.no_grad()
def _init_query_key_value_apart(c_attn: nn.Linear) -> None:
    bound = 1 / math.sqrt(c_attn.in_features)  # what nn.Linear's default init comes to, for weight and bias
    weights = c_attn.weight.chunk(3)
    biases = c_attn.bias.chunk(3) if c_attn.bias is not None else (None,) * 3
    for weight, bias in zip(weights, biases, strict=True):
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if bias is not None:
            nn.init.uniform_(bias, -bound, bound)


@torch.no_grad()
def _init_as_gpt2(model: GPT, std: float) -> None:
    residual_std = std / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=residual_std if "c_proj" in name else std)
        elif "ln_" in name and name.endswith("weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.zeros_(parameter)


def n_parameters(model: nn.Module) -> int:
    """Count the parameters, each shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())
