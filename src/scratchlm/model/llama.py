"""A Llama (Touvron et al. 2023, arXiv 2302.13971), its parts in the order in which they are composed.

What differs from the GPT of the book: a norm without a mean, positions as rotations of queries and keys, fewer heads of
keys and values than of queries, a feed-forward with a gate, and no bias anywhere.

Shape suffixes: B batch, T tokens of this call, S tokens in view (cache included), D emb_dim, H n_heads, G n_kv_heads,
K head_dim = D / H, I hidden_dim, V vocab_size.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.model.attention import attend, causal_mask
from scratchlm.model.config import AttentionKind, LlamaConfig
from scratchlm.model.kv_cache import AnyCache, AnyLayerCache
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.linear import Linear


class RMSNorm(nn.Module):
    """Scales every token to a root mean square of 1, then each dimension by a weight (Zhang and Sennrich 2019).

    Unlike a layer norm it subtracts no mean and adds no bias: fewer numbers to compute, and the models are as good.
    """

    def __init__(self, emb_dim: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(emb_dim))
        self.epsilon = epsilon

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.epsilon)


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which the pairs of dimensions are turned, each [..., T, K / 2] float32."""

    cos: Tensor
    sin: Tensor


def rotation(positions: Tensor, head_dim: int, base: float) -> Rotation:
    """Return the rotation of each position, [..., T] int64 (Su et al. 2021, RoFormer, section 3.2).

    Pair i turns by base^(-2i / K) per position: the first by one radian, the last hardly at all. So the first pairs
    tell near positions apart, and the last ones far ones.
    """
    pairs = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    # In the order in which transformers computes it: at position 8,000, its last bit is half a thousandth of a radian.
    angles = positions[..., None].float() * (1.0 / base ** (pairs / head_dim))  # [..., T, K / 2]
    return Rotation(angles.cos(), angles.sin())


def rotate(x_BHTK: Tensor, angles: Rotation) -> Tensor:
    """Turn each pair of dimensions of queries or keys by its angle; [B, H, T, K].

    The product of a query and a key then depends on how far apart they are, and not on where they stand. A pair is a
    dimension of the first half of a head with the same one of the second half, as in transformers' files.
    """
    first, second = x_BHTK.chunk(2, dim=-1)  # each [B, H, T, K / 2]
    cos, sin = angles
    # In bfloat16 the angles stay in float32: near positions would get the same one.
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x_BHTK.dtype)


class GroupedQueryAttention(nn.Module):
    """Causal attention with rotary positions, in which groups of queries share a key and a value.

    With as many heads of keys as of queries this is multi-head attention. With fewer, the cache of keys and values
    shrinks by H / G (Ainslie et al. 2023, arXiv 2305.13245). `kind` as for `MultiHeadAttention`.
    """

    def __init__(self, config: LlamaConfig, kind: AttentionKind) -> None:
        super().__init__()
        self.head_dim, self.drop_rate, self.kind = config.head_dim, config.drop_rate, kind
        kv_dim = config.n_kv_heads * config.head_dim
        self.q_proj = Linear(config.emb_dim, config.emb_dim, bias=False)
        self.k_proj = Linear(config.emb_dim, kv_dim, bias=False)
        self.v_proj = Linear(config.emb_dim, kv_dim, bias=False)
        self.o_proj = Linear(config.emb_dim, config.emb_dim, bias=False)

    def forward(self, x_BTD: Tensor, angles: Rotation, mask: Tensor | None, cache: AnyLayerCache | None) -> Tensor:
        """Attend from every token to those it may see, [B, T, D] to [B, T, D]; `mask` as for `MultiHeadAttention`."""
        q, k, v = self.queries_keys_values(x_BTD, angles)
        if cache is not None:
            k, v = cache.append(k, v)  # [B, G, S, K]
        y_BHTK = attend(q, k, v, mask, self.kind, self.drop_rate if self.training else 0.0)
        return self.o_proj(y_BHTK.transpose(1, 2).reshape(x_BTD.shape))  # type: ignore[no-any-return]

    def at(self, x_BTD: Tensor, angles: Rotation, position_B: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from one position of each text alone, [B, T, D] and [B] int64 to [B, D], without dropout."""
        assert not (self.training and self.drop_rate)
        B, T, D = x_BTD.shape
        rows_B = torch.arange(B, device=x_BTD.device)
        if mask is None:
            mask = causal_mask(T, T, x_BTD.device)
        mask_B11T = mask.expand(B, 1, T, T)[rows_B, :, position_B][:, :, None]
        at_B1 = Rotation(*(part[position_B][:, None, None] for part in angles))  # each [B, 1, 1, K / 2]
        q_BH1K = rotate(self._heads(self.q_proj(x_BTD[rows_B, position_B][:, None])), at_B1)
        k_BGTK, v_BGTK = rotate(self._heads(self.k_proj(x_BTD)), angles), self._heads(self.v_proj(x_BTD))
        y_BH1K = attend(q_BH1K, k_BGTK, v_BGTK, mask_B11T, self.kind, drop_rate=0.0)
        return self.o_proj(y_BH1K.reshape(B, D))  # type: ignore[no-any-return]

    def queries_keys_values(self, x_BTD: Tensor, angles: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Project the input and turn queries and keys: [B, H, T, K], and twice [B, G, T, K]."""
        q, k, v = (self._heads(projection(x_BTD)) for projection in (self.q_proj, self.k_proj, self.v_proj))
        return rotate(q, angles), rotate(k, angles), v

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)  # [B, T, H * K] to [B, H, T, K]


class GatedFeedForward(nn.Module):
    """A feed-forward whose hidden numbers are multiplied by a gate, silu of another projection (SwiGLU, Shazeer 2020).

    It has three matrices instead of two, so that `hidden_dim` is usually 8/3 of the width, not 4 times.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.emb_dim, config.hidden_dim, bias=False)
        self.up_proj = Linear(config.emb_dim, config.hidden_dim, bias=False)
        self.down_proj = Linear(config.hidden_dim, config.emb_dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        hidden_BTI = F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
        return self.down_proj(hidden_BTI)  # type: ignore[no-any-return]


class LlamaBlock(nn.Module):
    """A pre-norm transformer block with two shortcut connections, as in GPT-2."""

    def __init__(self, config: LlamaConfig, attention: AttentionKind) -> None:
        super().__init__()
        self.ln_1 = RMSNorm(config.emb_dim, config.norm_epsilon)
        self.attn = GroupedQueryAttention(config, attention)
        self.ln_2 = RMSNorm(config.emb_dim, config.norm_epsilon)
        self.mlp = GatedFeedForward(config)
        self.dropout = nn.Dropout(config.drop_rate)

    def forward(self, x_BTD: Tensor, angles: Rotation, mask: Tensor | None, cache: AnyLayerCache | None) -> Tensor:
        return self._after_attention(x_BTD, self.attn(self.ln_1(x_BTD), angles, mask, cache))

    def at(self, x_BTD: Tensor, angles: Rotation, position_B: Tensor, mask: Tensor | None) -> Tensor:
        """Return what `forward` does at one position of each text, [B] int64, without dropout of attention: [B, D]."""
        attended_BD = self.attn.at(self.ln_1(x_BTD), angles, position_B, mask)
        return self._after_attention(x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), position_B], attended_BD)

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.dropout(attended)
        return x + self.dropout(self.mlp(self.ln_2(x)))  # type: ignore[no-any-return]


class Llama(LanguageModel):
    """A Llama: embedding, blocks, norm and head have the names of `GPT`, the layers inside a block transformers' names.

    There is no embedding of positions, so that `context_length` is a limit, but costs no parameters.
    """

    config: LlamaConfig

    def __init__(self, config: LlamaConfig, attention: AttentionKind = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.emb_dim)
        self.dropout = nn.Dropout(config.drop_rate)
        self.h = nn.ModuleList(LlamaBlock(config, attention) for _ in range(config.n_layers))
        self.ln_f = RMSNorm(config.emb_dim, config.norm_epsilon)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.emb_dim, config.vocab_size, bias=False)

    def embed(self, ids_BT: Tensor, positions_BT: Tensor | None = None, start: int = 0) -> Tensor:
        """Return the embeddings of tokens, [B, T, D]; positions come in with the blocks."""
        return self.dropout(self.wte(ids_BT))  # type: ignore[no-any-return]

    def run_blocks(
        self,
        x_BTD: Tensor,
        first: int = 0,
        end: int | None = None,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: AnyCache | None = None,
    ) -> Tensor:
        """Return the hidden states after some blocks; see `LanguageModel`."""
        angles = self.rotation_of(x_BTD.shape[1], positions_BT, cache.length if cache is not None else 0)
        for layer, block in enumerate(self.h[first:end], first):
            x_BTD = block(x_BTD, angles, mask, cache.layer(layer) if cache is not None else None)
        return x_BTD

    def last_block_at(self, x_BTD: Tensor, position_B: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the last block does at one position of each text; see `LanguageModel`."""
        return cast(LlamaBlock, self.h[-1]).at(x_BTD, self.rotation_of(x_BTD.shape[1]), position_B, mask)

    def rotation_of(self, n_tokens: int, positions_BT: Tensor | None = None, start: int = 0) -> Rotation:
        """Return the rotation of tokens whose positions count from `start` if not given, the same for all heads."""
        if positions_BT is None:
            positions = torch.arange(start, start + n_tokens, device=self.device)  # [T]
        else:
            positions = positions_BT[:, None]  # [B, 1, T]
        return rotation(positions, self.config.head_dim, self.config.rope_base)
