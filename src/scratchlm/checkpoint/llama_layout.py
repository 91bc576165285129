"""Hugging Face's layout of Llama checkpoints: the keys of config.json, the names and shapes of the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchlm.model.config import MAX_LAYERS, MAX_ROPE_BASE, LlamaConfig
from scratchlm.model.init import empty_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.lora import Computed, merged_state

# --- config.json --------------------------------------------------------------------------------------------

MODEL_TYPE = "llama"
SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "emb_dim": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "n_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
}
# The largest Llama 3 is 16,384 wide. Far beyond that, torch cannot count the numbers of the model to compare with.
LARGEST = {
    "vocab_size": 10**9,
    "max_position_embeddings": 2**31 - 1,
    "hidden_size": 10**6,
    "num_attention_heads": 10**6,
    "num_hidden_layers": MAX_LAYERS,
    "num_key_value_heads": 10**6,
    "intermediate_size": 10**9,
}
# What this Llama computes: with other values, a checkpoint would load and give wrong logits.
FIXED = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "pretraining_tp": (1,),
}
# The same for keys that a Llama does not need, and that some programs write.
UNUSED = {
    "quantization_config": (None,),
    "sliding_window": (None,),
    "rope_interleaved": (None, False),
    "partial_rotary_factor": (None, 1),
}


def config_to_json(config: LlamaConfig, end_of_text_id: int) -> dict[str, Any]:
    """Describe a model with Hugging Face's names."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": MODEL_TYPE,
        **{key: allowed[0] for key, allowed in FIXED.items()},
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_epsilon,
        # Older versions read the first, version 5 the second.
        "rope_theta": config.rope_base,
        "rope_parameters": _rope_parameters(config.rope_base),
        "attention_dropout": config.drop_rate,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
    }


def config_problems(found: Mapping[str, Any]) -> list[str]:
    """Return why a config.json does not describe a usable Llama; empty if it does."""
    found = _with_defaults(found)
    problems = [
        f"{key} is {found.get(key)!r}, expected a whole number from 1 to {LARGEST[key]:,}"
        for key in SIZES.values()
        if type(found.get(key)) is not int or not 1 <= found[key] <= LARGEST[key]
    ]
    numbers = {"rope_theta": (1, MAX_ROPE_BASE), "rms_norm_eps": (0, 1), "attention_dropout": (0, 1)}
    problems += [
        f"{key} is {found[key]!r}, expected a number from {least:g} to {most:g}"
        for key, (least, most) in numbers.items()
        if type(found[key]) not in (int, float) or not least <= found[key] <= most
    ]
    if type(found["tie_word_embeddings"]) is not bool:
        problems.append(f"tie_word_embeddings is {found['tie_word_embeddings']!r}, expected true or false")
    problems += [
        f"{key} is {found[key]!r}, supported: {' or '.join(map(repr, allowed))}"
        for key, allowed in {**FIXED, **UNUSED}.items()
        if key in found and found[key] not in allowed
    ]
    usual, rope = _rope_parameters(found["rope_theta"]), found.get("rope_parameters")
    if rope is not None and (not isinstance(rope, dict) or {**usual, **rope} != usual):
        problems.append(f"rope_parameters is {rope!r}, supported: {usual!r}")
    if problems:
        return problems
    width, heads, kv_heads = (found[SIZES[name]] for name in ("emb_dim", "n_heads", "n_kv_heads"))
    if width % heads or width // heads % 2:
        problems.append(f"hidden_size {width} is not an even number for each of num_attention_heads {heads}")
    elif found["head_dim"] not in (None, width // heads):
        problems.append(
            f"head_dim is {found['head_dim']!r}, supported: hidden_size / num_attention_heads = {width // heads}"
        )
    if heads % kv_heads:
        problems.append(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    return problems


def config_from_json(found: Mapping[str, Any]) -> LlamaConfig:
    """Return the configuration that a config.json without problems describes."""
    found = _with_defaults(found)
    return LlamaConfig(
        **{ours: found[theirs] for ours, theirs in SIZES.items()},
        drop_rate=float(found["attention_dropout"]),
        tie_embeddings=found["tie_word_embeddings"],
        rope_base=float(found["rope_theta"]),
        norm_epsilon=float(found["rms_norm_eps"]),
    )


def _with_defaults(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys that are read, with transformers' values for those that a file leaves out or sets to null."""
    rope = found.get("rope_parameters")
    defaults = {
        "num_key_value_heads": found.get("num_attention_heads"),
        "head_dim": None,
        "rms_norm_eps": 1e-6,
        "rope_theta": rope.get("rope_theta", 10_000.0) if isinstance(rope, dict) else 10_000.0,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
    }
    return {**defaults, **{key: value for key, value in found.items() if value is not None}}


def _rope_parameters(rope_base: float) -> dict[str, Any]:
    return {"rope_theta": rope_base, "rope_type": "default"}


# --- the tensors --------------------------------------------------------------------------------------------

HEAD = "lm_head.weight"
# In the order in which they are tried; the names of layers inside a block are the same.
NAMES = {
    "wte.": "model.embed_tokens.",
    "ln_f.": "model.norm.",
    "h.": "model.layers.",
    ".ln_1.": ".input_layernorm.",
    ".attn.": ".self_attn.",
    ".ln_2.": ".post_attention_layernorm.",
}
ROTATIONS = re.compile(r"\.rotary_emb\.inv_freq$")  # which old versions store as tensors


class LlamaLayout:
    """How a checkpoint names the tensors of one Llama; see `weights.Layout`."""

    def __init__(self, config: LlamaConfig) -> None:
        self.config = config
        with torch.device("meta"):
            parameters = empty_model(config).state_dict()
        self.shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
        self.names = {_stored_name(name): name for name in self.shapes}

    def stored_tensors(self, model: LanguageModel) -> Mapping[str, Tensor]:
        """Return the model's tensors with LlamaForCausalLM's names, in float32, LoRA merged."""
        state = merged_state(model)
        return Computed(self.names, lambda stored: state[self.names[stored]].float())

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor of a checkpoint of this model: its name in the model -> its shape in the file."""
        return self.shapes

    def parameter_name(self, stored_name: str) -> str | None:
        """Return the model's name of a stored tensor; None for a tied head or angles, which are redundant."""
        if (stored_name == HEAD and self.config.tie_embeddings) or ROTATIONS.search(stored_name):
            return None
        return self.names.get(stored_name, stored_name)

    def turned(self, name: str, tensor: Tensor) -> Tensor:
        """Return the tensor as it is: model and file store it in the same direction."""
        return tensor

    def missing_problems(self, missing: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return what is wrong with a file that lacks tensors, given as name in the model -> expected shape."""
        return [f"{_stored_name(name)} is missing, expected {list(shape)}" for name, shape in missing.items()]

    def surplus_problem(self, stored_names: list[str]) -> str:
        """Return why the model cannot drop these tensors; every tensor of a file is one of this model's parameters."""
        raise AssertionError(stored_names)

    def shape_hint(self, name: str, stored_shape: tuple[int, ...]) -> str:
        """Return no hint: no shape depends on the context length."""
        return ""


def _stored_name(name: str) -> str:
    return renamed(name, NAMES)


def renamed(name: str, names: Mapping[str, str]) -> str:
    """Return a tensor's name with parts of ours replaced, in the order of `names`.

    A part that begins with a dot may stand anywhere, any other only at the beginning.
    """
    for ours, theirs in names.items():
        if name.startswith(ours) or ours.startswith("."):
            name = name.replace(ours, theirs, 1)
    return name
