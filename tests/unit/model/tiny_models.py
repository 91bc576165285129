"""A tiny configuration of each architecture: what works with one of them must work with the other."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from scratchlm.model.config import Architecture, GPTConfig, LlamaConfig, ModelConfig

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)


def config_of(architecture: Architecture, *shape: Any, **options: Any) -> ModelConfig:
    """Return a configuration with the shape and options of `ModelConfig`; a Llama's queries are in pairs."""
    if architecture == "gpt2":
        return GPTConfig(*shape, **options)
    sizes = ModelConfig(*shape, **options)
    return LlamaConfig(
        *shape, **options, n_kv_heads=sizes.n_heads // 2, hidden_dim=5 * sizes.emb_dim // 2, rope_base=100.0
    )
