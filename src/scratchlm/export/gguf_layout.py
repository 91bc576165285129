"""How llama.cpp names and stores our models: the keys of a GGUF's header, and the names and shapes of its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from scratchlm.checkpoint import gguf_llama, llama_layout
from scratchlm.checkpoint.config_json import CONFIG, read_description
from scratchlm.errors import InputError
from scratchlm.model.config import Architecture, GPTConfig, LlamaConfig, ModelConfig

# llama.cpp's keys, which begin with the architecture's name -> those of a config.json; Llama's are in `gguf_llama`.
GPT2_KEYS = {
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
# Our names of tensors -> llama.cpp's, in the order in which they are tried. Both store a linear weight output first.
GPT2_NAMES = {
    "wte.": "token_embd.",
    "wpe.": "position_embd.",
    "ln_f.": "output_norm.",
    "lm_head.": "output.",
    "h.": "blk.",
    ".ln_1.": ".attn_norm.",
    ".attn.c_attn.": ".attn_qkv.",
    ".attn.c_proj.": ".attn_output.",
    ".ln_2.": ".ffn_norm.",
    ".mlp.c_fc.": ".ffn_up.",
    ".mlp.c_proj.": ".ffn_down.",
}
POSITIONS = "wpe.weight"


def architecture_of(config: ModelConfig) -> Architecture:
    """Return llama.cpp's name of a model's architecture, which is also ours."""
    return "llama" if isinstance(config, LlamaConfig) else "gpt2"


def check_expressible(config: ModelConfig) -> None:
    """Raise InputError if llama.cpp would compute other logits than the model: no key of its header could tell it."""
    if isinstance(config, LlamaConfig):
        return
    gpt = cast(GPTConfig, config)
    if not gpt.shortcuts:
        problem = "it has no shortcuts: set model.shortcuts to true"
    elif gpt.activation != "gelu_tanh":
        problem = f"its activation is {gpt.activation}: set model.activation to gelu_tanh"
    else:
        return
    raise InputError(
        f"this model cannot be exported, because llama.cpp knows a GPT-2 with shortcuts and gelu_tanh alone, and "
        f"{problem}, and train it again"
    )


def describe_shape(folder: Path, config: ModelConfig) -> dict[str, int | float]:
    """Return the keys of a GGUF's header that describe a model's shape."""
    described = read_description(folder / CONFIG, "model")
    if isinstance(config, LlamaConfig):
        keys, more = gguf_llama.KEYS, {"vocab_size": config.vocab_size}
    else:
        keys, more = GPT2_KEYS, {"feed_forward_length": 4 * config.emb_dim}
    found: dict[str, Any] = {ours: described[theirs] for ours, theirs in keys.items()} | more
    return {f"{architecture_of(config)}.{key}": value for key, value in found.items() if value is not None}


def gguf_name(config: ModelConfig, name: str) -> str:
    """Return llama.cpp's name of a tensor of our model."""
    return gguf_llama.gguf_name(name) if isinstance(config, LlamaConfig) else llama_layout.renamed(name, GPT2_NAMES)


def in_gguf_order(config: ModelConfig, name: str, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a tensor of our model with its rows in the order in which llama.cpp has them."""
    return gguf_llama.in_neighbouring_pairs(tensor, config, name) if isinstance(config, LlamaConfig) else tensor


def is_absent(config: ModelConfig, name: str) -> bool:
    """Whether a tensor is not in our model, but in its files: biases of query, key and value, which are zeros then."""
    return isinstance(config, GPTConfig) and not config.qkv_bias and name.endswith("attn.c_attn.bias")
