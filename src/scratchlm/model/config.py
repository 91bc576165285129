"""The configurations of GPT-2 and Llama, with the book's names (chapter 4.1), and the options of their choices."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

Architecture = Literal["gpt2", "llama"]
AttentionKind = Literal["sdpa", "manual", "per_head"]
Activation = Literal["gelu_tanh", "gelu", "relu"]
Init = Literal["book", "gpt2"]

GPT2_VOCAB_SIZE = 50257
GPT2_CONTEXT_LENGTH = 1024
SMOLLM2_CONTEXT_LENGTH = 8192
MAX_LAYERS = 1000  # GPT-3 has 96; far beyond, building the blocks alone takes minutes
MAX_ROPE_BASE = 1e9  # Llama 3 has 5e5


@dataclass(frozen=True)
class ModelConfig:
    """The shape that all architectures have, with the book's names (chapter 4.1)."""

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    drop_rate: float = 0.0
    _: KW_ONLY
    tie_embeddings: bool = True

    @property
    def head_dim(self) -> int:
        return self.emb_dim // self.n_heads

    @property
    def n_cached_heads(self) -> int:
        """The number of heads that keys and values have."""
        return self.n_heads


@dataclass(frozen=True, kw_only=True)
class GPTConfig(ModelConfig):
    """The shape of a GPT-2, and the options that change its logits."""

    qkv_bias: bool = True
    activation: Activation = "gelu_tanh"
    shortcuts: bool = True


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """The shape of a Llama."""

    n_kv_heads: int  # of keys and values; divides `n_heads`
    hidden_dim: int  # inside the feed-forward
    rope_base: float  # of the angles by which queries and keys are rotated
    norm_epsilon: float = 1e-5  # added to a mean square before its root is taken

    @property
    def n_cached_heads(self) -> int:
        """The number of heads that keys and values have."""
        return self.n_kv_heads
