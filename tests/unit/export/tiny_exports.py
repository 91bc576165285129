"""Configurations that a GGUF file can hold, and random models of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel

GPT = GPTConfig(280, 64, 32, 2, 2, qkv_bias=False)
LLAMA = LlamaConfig(281, 64, 64, 4, 2, n_kv_heads=2, hidden_dim=96, rope_base=500.0, norm_epsilon=1e-3)


Checkpoint = Callable[[ModelConfig], tuple[Path, LanguageModel]]  # saves a random model of a shape


@torch.no_grad()
def random_model(config: ModelConfig) -> LanguageModel:
    """Return a model in which no tensor is constant."""
    torch.manual_seed(3)
    model = new_model(config, "gpt2").eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
