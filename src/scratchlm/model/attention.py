"""Multi-head causal attention (chapter 3.6): one set of weights, three ways to compute with it.

Shape suffixes as in llama.py: B batch, T tokens of this call, S tokens in view (cache included), D emb_dim,
H n_heads, G heads of keys and values, K head_dim = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.model.config import AttentionKind
from scratchlm.model.kv_cache import AnyLayerCache
from scratchlm.model.linear import Linear, linear


class MultiHeadAttention(nn.Module):
    """Multi-head causal attention with query, key and value in one product.

    `kind` chooses how: `sdpa` is torch's own and the fastest, `manual` writes out the formula for all heads
    at once, `per_head` computes one head after the other, as stacked single heads would (chapter 3.6.1).
    Same values; only `per_head`'s dropout uses another random stream.
    """

    def __init__(self, emb_dim: int, n_heads: int, drop_rate: float, qkv_bias: bool, kind: AttentionKind) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.drop_rate = drop_rate
        self.kind = kind
        self.c_attn = Linear(emb_dim, 3 * emb_dim, bias=qkv_bias, n_parts=3)
        self.c_proj = Linear(emb_dim, emb_dim)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, cache: AnyLayerCache | None) -> Tensor:
        """Attend from every token to those it may see, [B, T, D] to [B, T, D].

        `mask` is bool, broadcastable to [B, 1, T, S], True where a token may look, the same for all heads. Without
        it, attention is causal.
        """
        q, k, v = self.queries_keys_values(x_BTD)
        if cache is not None:
            k, v = cache.append(k, v)  # [B, H, S, K]
        y_BHTK = attend(q, k, v, mask, self.kind, self.drop_rate if self.training else 0.0)
        return self.c_proj(y_BHTK.transpose(1, 2).reshape(x_BTD.shape))  # type: ignore[no-any-return]

    def at(self, x_BTD: Tensor, position_B: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from one position of each text alone, [B, T, D] and [B] int64 to [B, D], as `forward` does there.

        Without dropout and LoRA. No token gets a key or a value. A query's product with a key, q (W x), is (q W) x, so
        that the query is projected instead of all T tokens; and the mean of the values is the projection of the mean of
        the tokens. The bias of the keys adds the same to all scores, so that no weight depends on it.
        """
        assert self.c_attn.lora is None and not (self.training and self.drop_rate)
        B, T, D = x_BTD.shape
        H, K = self.n_heads, D // self.n_heads
        rows_B = torch.arange(B, device=x_BTD.device)
        if mask is None:
            mask = causal_mask(T, T, x_BTD.device)
        mask_B1T = mask.expand(B, 1, T, T)[rows_B, :, position_B]
        query_weight, key_weight, value_weight = self.c_attn.weight.chunk(3)
        query_bias, _, value_bias = self.c_attn.bias.chunk(3) if self.c_attn.bias is not None else (None,) * 3
        q_BHK = linear(x_BTD[rows_B, position_B], query_weight, query_bias).view(B, H, K) / math.sqrt(K)
        q_BHD = torch.einsum("bhk,hkd->bhd", q_BHK, key_weight.view(H, K, D))
        scores_BHT = (q_BHD @ x_BTD.transpose(1, 2)).masked_fill(~mask_B1T, -torch.inf)
        mean_BHD = torch.softmax(scores_BHT, dim=-1) @ x_BTD
        y_BD = torch.einsum("bhd,hkd->bhk", mean_BHD, value_weight.view(H, K, D)).reshape(B, D)
        return self.c_proj(y_BD if value_bias is None else y_BD + value_bias)  # type: ignore[no-any-return]

    def queries_keys_values(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project the input to queries, keys and values, split into heads: each [B, H, T, K]."""
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.n_heads, D // self.n_heads).transpose(1, 2)
            for part in self.c_attn(x_BTD).split(D, dim=-1)
        )
        return q, k, v


def attend(
    q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask: Tensor | None, kind: AttentionKind, drop_rate: float
) -> Tensor:
    """Attend from T queries to those of S tokens that they may see, in one of three ways: to [B, H, T, K].

    The queries are those of the last T tokens; `mask` as for `MultiHeadAttention`. If there are fewer heads of keys and
    values than of queries, G < H, each serves a group of H / G (Ainslie et al. 2023).
    """
    n_heads, T, S = q_BHTK.shape[1], q_BHTK.shape[2], k_BGSK.shape[2]
    if kind == "sdpa" and 1 == T < S and q_BHTK.device.type == "cpu":
        # Here torch's kernel takes 1.3 times as long in float32 and 3 times in bfloat16 (32 texts of 150
        # tokens, 12 heads, one thread of a Zen 5), as it works on many queries at a time.
        return attend_once(q_BHTK, k_BGSK, v_BGSK, mask)
    k_BHSK, v_BHSK = for_each_query_head(k_BGSK, n_heads), for_each_query_head(v_BGSK, n_heads)
    if kind == "sdpa":
        if mask is None and 1 < T < S:
            mask = causal_mask(T, S, q_BHTK.device)  # is_causal would treat the new tokens as the first ones
        causal = False  # one new token sees everything before it
        if mask is None and T > 1:
            causal = True  # in a branch: where T varies, a compiled `T > 1` is no bool
        return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, mask, drop_rate, is_causal=causal)
    if kind == "manual":
        return F.dropout(attention_weights(q_BHTK, k_BHSK, mask), drop_rate) @ v_BHSK
    heads = [
        F.dropout(attention_weights(q_BHTK[:, [head]], k_BHSK[:, [head]], mask), drop_rate) @ v_BHSK[:, [head]]
        for head in range(n_heads)
    ]
    return torch.cat(heads, dim=1)


def for_each_query_head(x_BGSK: Tensor, n_heads: int) -> Tensor:
    """Repeat each head of keys or values for its group of queries, to [B, n_heads, S, K]."""
    n_groups = x_BGSK.shape[1]
    return x_BGSK if n_groups == n_heads else x_BGSK.repeat_interleave(n_heads // n_groups, dim=1)


def attend_once(q_BH1K: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask: Tensor | None) -> Tensor:
    """Attend from one new token per text, with the same result as `attention_weights(...) @ v`: to [B, H, 1, K]."""
    B, H, _, K = q_BH1K.shape
    q_BGRK = q_BH1K.reshape(B, k_BGSK.shape[1], -1, K)  # the R queries of a group, as if they were R new tokens
    # Keys times query, not query times keys: this reads the cached keys in place, without a copy.
    scores_BGRS = (k_BGSK @ (q_BGRK / math.sqrt(K)).transpose(-2, -1)).transpose(-2, -1)
    if mask is not None:
        scores_BGRS = scores_BGRS.masked_fill(~mask, -torch.inf)
    return (torch.softmax(scores_BGRS, dim=-1) @ v_BGSK).reshape(B, H, 1, K)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the attention weights of T queries over S keys: [..., T, K] and [..., S, K] to [..., T, S].

    The T queries are those of the last T of the S tokens; `mask` as for `MultiHeadAttention`. Every row sums to 1
    (chapter 3.5).
    """
    if mask is None:
        mask = causal_mask(q.shape[-2], k.shape[-2], q.device)
    scores = q @ k.transpose(-2, -1)  # [..., T, S]
    # -inf before the softmax: hidden tokens get exactly 0, and the rest still sums to 1. The root, because the
    # scores of long vectors are large and would saturate the softmax (Vaswani et al. 2017, section 3.2.1).
    return torch.softmax(scores.masked_fill(~mask, -torch.inf) / math.sqrt(q.shape[-1]), dim=-1)


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """Return the causal mask of the last `n_queries` of `n_keys` tokens: bool, [n_queries, n_keys]."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)
