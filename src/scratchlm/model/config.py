"""The configuration of a GPT, with the book's names (chapter 4.1), and the options of its choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AttentionKind = Literal["sdpa", "manual", "per_head"]
Activation = Literal["gelu_tanh", "gelu", "relu"]
Init = Literal["book", "gpt2"]

GPT2_VOCAB_SIZE = 50257
GPT2_CONTEXT_LENGTH = 1024
MAX_LAYERS = 1000  # GPT-3 has 96; far beyond, building the blocks alone takes minutes


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT with the book's names (chapter 4.1), and the options that change its logits."""

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    drop_rate: float = 0.0
    qkv_bias: bool = True
    tie_embeddings: bool = True
    activation: Activation = "gelu_tanh"
    shortcuts: bool = True

    @property
    def head_dim(self) -> int:
        return self.emb_dim // self.n_heads
