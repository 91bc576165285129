"""Attention step by step (chapter 3): each class adds one idea to the one before, and can take over its weights.

Attention without weights, one head with weight matrices, the same with linear layers, a causal head, stacked heads,
and finally the `MultiHeadAttention` of the GPT.

Shape suffixes: B batch, T tokens, D width of the input, H heads, K width of a head's output.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.errors import InputError
from scratchlm.model.attention import MultiHeadAttention, attention_weights
from scratchlm.model.config import AttentionKind


def attend_without_weights(x_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Mix all tokens by similarity; return the attention weights [T, T] and the contexts [T, D] (chapter 3.3).

    A score is the dot product of two tokens, and the softmax makes each row of scores sum to 1. There is nothing to
    learn.
    """
    scores_TT = x_TD @ x_TD.T
    weights_TT = torch.softmax(scores_TT, dim=-1)
    return weights_TT, weights_TT @ x_TD


def attend(q_BTK: Tensor, k_BTK: Tensor, v_BTK: Tensor) -> Tensor:
    """Attend from every query to all keys, [..., T, K] (Vaswani et al. 2017, equation 1; chapter 3.4)."""
    scores_BTT = q_BTK @ k_BTK.transpose(-2, -1)
    return torch.softmax(scores_BTT / math.sqrt(k_BTK.shape[-1]), dim=-1) @ v_BTK


class ParameterHead(nn.Module):
    """One head of attention with learned matrices [D, K], multiplied from the right (chapter 3.4.1)."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.rand(d_in, d_out))
        self.key = nn.Parameter(torch.rand(d_in, d_out))
        self.value = nn.Parameter(torch.rand(d_in, d_out))

    @classmethod
    @torch.no_grad()
    def without_weights(cls, d_in: int) -> Self:
        """Return the head that gives the contexts of `attend_without_weights`.

        Its matrices are the identity, except that the query matrix is sqrt(D) times the identity: a head divides its
        scores by sqrt(D), the attention of chapter 3.3 does not.
        """
        head = cls(d_in, d_in)
        head.query.copy_(math.sqrt(d_in) * torch.eye(d_in))
        head.key.copy_(torch.eye(d_in))
        head.value.copy_(torch.eye(d_in))
        return head

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [..., T, D] to contexts [..., T, K]; every token sees all."""
        return attend(x_BTD @ self.query, x_BTD @ self.key, x_BTD @ self.value)


class LinearHead(nn.Module):
    """The same head with linear layers: initial weights are small and around 0, a bias is possible (chapter 3.4.2)."""

    def __init__(self, d_in: int, d_out: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.value = nn.Linear(d_in, d_out, bias=qkv_bias)

    @classmethod
    @torch.no_grad()
    def from_parameters(cls, head: ParameterHead) -> Self:
        """Take over a head's matrices, transposed: a linear layer stores its weight as [K, D]."""
        linear = cls(*head.query.shape)
        linear.query.weight.copy_(head.query.T)
        linear.key.weight.copy_(head.key.T)
        linear.value.weight.copy_(head.value.T)
        return linear

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [..., T, D] to contexts [..., T, K]; every token sees all."""
        return attend(self.query(x_BTD), self.key(x_BTD), self.value(x_BTD))


class CausalHead(LinearHead):
    """A head whose tokens see only themselves and earlier ones, with dropout on its weights (chapter 3.5).

    The last token sees all, so it gets the same context as from a `LinearHead`.
    Dropout sets weights to 0 at random and divides the others by 1 - drop_rate, in training only.
    """

    def __init__(self, d_in: int, d_out: int, drop_rate: float, qkv_bias: bool = False) -> None:
        super().__init__(d_in, d_out, qkv_bias)
        self.drop_rate = drop_rate

    @classmethod
    def from_linear(cls, head: LinearHead, drop_rate: float) -> Self:
        """Take over the linear layers of a head without a mask."""
        d_out, d_in = head.query.weight.shape
        causal = cls(d_in, d_out, drop_rate, qkv_bias=head.query.bias is not None)
        causal.load_state_dict(head.state_dict())
        return causal

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [B, T, D] to contexts [B, T, K]."""
        weights_BTT = attention_weights(self.query(x_BTD), self.key(x_BTD))
        return F.dropout(weights_BTT, self.drop_rate, self.training) @ self.value(x_BTD)  # type: ignore[no-any-return]


class StackedHeads(nn.Module):
    """Causal heads on the same input, with their outputs concatenated (chapter 3.6.1)."""

    def __init__(self, heads: Iterable[CausalHead]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [B, T, D] to the contexts of head 0, head 1 and so on, [B, T, H * K]."""
        return torch.cat([head(x_BTD) for head in self.heads], dim=-1)


@torch.no_grad()
def merge_heads(stacked: StackedHeads, kind: AttentionKind = "sdpa") -> MultiHeadAttention:
    """Return the `MultiHeadAttention` that computes the same as stacked heads of equal shape (chapter 3.6.2).

    Its matrix holds the queries of all heads, then all keys, then all values, so that one product replaces 3 H. Its
    output projection, which stacked heads do not have, is the identity.
    Raises InputError if D is not H * K, as a block of the GPT needs.
    """
    heads = cast(list[CausalHead], list(stacked.heads))
    d_out, d_in = heads[0].query.weight.shape
    if d_in != len(heads) * d_out:
        raise InputError(
            f"{len(heads)} heads of width {d_out} give {len(heads) * d_out} numbers per token, but their input has "
            f"{d_in}: to merge them, both must be equal; choose heads of width d_in / n_heads"
        )
    qkv_bias = heads[0].query.bias is not None
    attention = MultiHeadAttention(d_in, len(heads), heads[0].drop_rate, qkv_bias, kind)
    layers = [*(head.query for head in heads), *(head.key for head in heads), *(head.value for head in heads)]
    attention.c_attn.weight.copy_(torch.cat([layer.weight for layer in layers]))
    if qkv_bias:
        attention.c_attn.bias.copy_(torch.cat([layer.bias for layer in layers]))
    attention.c_proj.weight.copy_(torch.eye(d_in))
    attention.c_proj.bias.zero_()
    return attention
