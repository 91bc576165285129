"""Hugging Face's layout of GPT-2 checkpoints: the keys of config.json, the names and shapes of the tensors.

Everything about this layout is in this module; another architecture gets a module of its own. The modules of
model/gpt.py have GPT-2's names, so the names of tensors differ only in a prefix. GPT-2 stores the weights of a block's
four linear layers as [in, out], `nn.Linear` as [out, in].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchlm.model.config import MAX_LAYERS, Activation, GPTConfig
from scratchlm.model.init import empty_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.lora import Computed, merged_state

# --- config.json --------------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "emb_dim": "n_embd",
    "n_heads": "n_head",
    "n_layers": "n_layer",
}
# The largest GPT-3 is 12,288 wide. Far beyond that, building the model to compare with takes minutes.
LARGEST = {"n_layer": MAX_LAYERS, "n_embd": 10**6, "n_head": 10**6, "n_positions": 10**9, "vocab_size": 10**9}
DROP_RATES = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
# transformers' names of the activations; its `gelu` is the exact form.
ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
WITHOUT_SHORTCUTS = "_without_shortcuts"  # suffix of the names that would mark the model as a GPT-2
MODEL_TYPES = ("gpt2", f"gpt2{WITHOUT_SHORTCUTS}")
# What this GPT computes: with other values, a checkpoint would load and give wrong logits.
FIXED = {
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def config_to_json(config: GPTConfig, end_of_text_id: int) -> dict[str, Any]:
    """Describe a model with Hugging Face's names, plus our own `qkv_bias` and `shortcuts`.

    Other programs would ignore `shortcuts: false` and compute other logits, so a model without shortcuts gets names
    that they reject: transformers' Auto classes do not know the `model_type` gpt2_without_shortcuts, and
    `GPT2LMHeadModel`, which only warns about that, does not know the activation.
    """
    ending = "" if config.shortcuts else WITHOUT_SHORTCUTS
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": [f"GPT2LMHeadModel{ending}"],
        "model_type": f"gpt2{ending}",
        "activation_function": f"{activation}{ending}",
        **{key: allowed[0] for key, allowed in FIXED.items()},
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "n_ctx": config.context_length,  # GPT-2's old name of n_positions, which llama.cpp's converter reads
        **dict.fromkeys(DROP_RATES, config.drop_rate),
        "qkv_bias": config.qkv_bias,
        "shortcuts": config.shortcuts,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
    }


def config_problems(found: Mapping[str, Any]) -> list[str]:
    """Return why a config.json does not describe a usable GPT-2; empty if it does."""
    problems = [
        f"{key} is {found.get(key)!r}, expected a whole number from 1 to {LARGEST[key]:,}"
        for key in SIZES.values()
        if type(found.get(key)) is not int or not 1 <= found[key] <= LARGEST[key]
    ]
    drop_rate = _drop_rate(found)
    if type(drop_rate) not in (int, float) or not 0 <= drop_rate < 1:
        problems.append(f"resid_pdrop is {drop_rate!r}, expected a number from 0 to below 1")
    problems += [
        f"{key} is {found[key]!r}, expected true or false"
        for key in ("qkv_bias", "shortcuts", "tie_word_embeddings")
        if type(found.get(key, True)) is not bool
    ]
    supported = {
        "model_type": (f"gpt2{_ending(found)}",),
        "activation_function": tuple(_activations(found)),
        **FIXED,
    }
    problems += [
        f"{key} is {found[key]!r}, supported: {' or '.join(map(repr, allowed))}"
        for key, allowed in supported.items()
        if key in found and found[key] not in allowed
    ]
    if not problems and found["n_embd"] % found["n_head"]:
        problems.append(f"n_embd {found['n_embd']} is not a multiple of n_head {found['n_head']}")
    if not problems and found.get("n_inner") not in (None, 4 * found["n_embd"]):
        problems.append(f"n_inner is {found['n_inner']}, supported: null or 4 * n_embd = {4 * found['n_embd']}")
    return problems


def config_from_json(found: Mapping[str, Any]) -> GPTConfig:
    """Return the configuration that a config.json without problems describes."""
    return GPTConfig(
        **{ours: found[theirs] for ours, theirs in SIZES.items()},
        drop_rate=float(_drop_rate(found)),
        qkv_bias=found.get("qkv_bias", True),
        tie_embeddings=found.get("tie_word_embeddings", True),
        activation=_activations(found)[found.get("activation_function", f"gelu_new{_ending(found)}")],
        shortcuts=found.get("shortcuts", True),
    )


def _drop_rate(found: Mapping[str, Any]) -> Any:
    return found.get("resid_pdrop", 0.1)  # transformers' default


def _ending(found: Mapping[str, Any]) -> str:
    return "" if found.get("shortcuts", True) else WITHOUT_SHORTCUTS


def _activations(found: Mapping[str, Any]) -> dict[str, Activation]:
    return {f"{theirs}{_ending(found)}": ours for theirs, ours in ACTIVATIONS.items()}


# --- the tensors --------------------------------------------------------------------------------------------

PREFIX = "transformer."  # transformers' name of the model below the head; OpenAI's upload has no prefix
HEAD = "lm_head.weight"
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, which old versions store as tensors


class GPT2Layout:
    """How a checkpoint names and stores the tensors of one GPT; see `weights.Layout`.

    For a model without biases of query, key and value, a file holds zeros, or leaves all of them out.
    """

    def __init__(self, config: GPTConfig) -> None:
        self.config = config
        self.qkv_biases = {f"h.{layer}.attn.c_attn.bias" for layer in range(config.n_layers)}

    def stored_tensors(self, model: LanguageModel) -> Mapping[str, Tensor]:
        """Return the model's tensors with GPT2LMHeadModel's names and shapes, in float32, LoRA merged."""
        state = merged_state(model)
        names = {name if name == HEAD else PREFIX + name: name for name in state}
        zeros = [] if self.config.qkv_bias else [PREFIX + name for name in sorted(self.qkv_biases)]

        def stored(name: str) -> Tensor:
            if name in names:
                return self.turned(names[name], state[names[name]]).float()
            return torch.zeros(3 * self.config.emb_dim)

        return Computed([*names, *zeros], stored)

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor of a checkpoint of this model: its name in the model -> its shape in the file."""
        with torch.device("meta"):
            parameters = empty_model(self.config).state_dict()
        shapes = {name: tuple(self.turned(name, tensor).shape) for name, tensor in parameters.items()}
        return shapes | dict.fromkeys(sorted(self.qkv_biases), (3 * self.config.emb_dim,))

    def parameter_name(self, stored_name: str) -> str | None:
        """Return the model's name of a stored tensor; None for a mask or a tied head, which are redundant."""
        name = stored_name.removeprefix(PREFIX)
        repeated = name.endswith(MASK_BUFFERS) or (name == HEAD and self.config.tie_embeddings)
        return None if repeated else name

    def turned(self, name: str, tensor: Tensor) -> Tensor:
        """Transpose a tensor if model and file store it in different directions; works both ways."""
        return tensor.T if name.endswith(TRANSPOSED) else tensor

    def missing_problems(self, missing: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return what is wrong with a file that lacks tensors, given as name in the model -> expected shape."""
        all_biases = self.qkv_biases <= missing.keys()
        problems = [
            f"{name} is missing, expected {list(shape)}"
            for name, shape in missing.items()
            if not (all_biases and name in self.qkv_biases)
        ]
        if all_biases and self.config.qkv_bias:
            problems.append(
                f"qkv_bias is true, but {_first_of(sorted(self.qkv_biases))} missing: the model was trained without "
                "biases of query, key and value; set qkv_bias to false in config.json"
            )
        return problems

    def surplus_problem(self, stored_names: list[str]) -> str:
        """Return why the model cannot drop these tensors, its biases of query, key and value: they are not zero."""
        return (
            f"qkv_bias is false, but {_first_of(stored_names)} not zero: the model was trained with biases of "
            "query, key and value, and its logits would be wrong without them; set qkv_bias to true in config.json"
        )

    def shape_hint(self, name: str, stored_shape: tuple[int, ...]) -> str:
        """Return a hint if another context length explains an unexpected shape, else ""."""
        if name != "wpe.weight" or stored_shape[1:] != (self.config.emb_dim,):
            return ""
        wanted = self.config.context_length
        return (
            f": it holds one trained vector for each of {stored_shape[0]} positions, so the model that it belongs to "
            f"has context_length {stored_shape[0]}, not {wanted} (texts may be shorter); set n_positions to "
            f"{stored_shape[0]} in config.json, or use weights trained with {wanted}"
        )


def _first_of(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"
