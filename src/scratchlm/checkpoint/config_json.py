"""A model folder's config.json, in Hugging Face's names, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json
from scratchlm.files.text import read_json
from scratchlm.model.config import Activation, GPTConfig

CONFIG = "config.json"
CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "emb_dim": "n_embd",
    "n_heads": "n_head",
    "n_layers": "n_layer",
}
# transformers' names for what the feed-forward does; its `gelu` is the exact one.
ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
# The largest GPT-3 has 96 layers of width 12,288. Far beyond, building the model to compare with takes minutes.
LARGEST = {"n_layer": 1000, "n_embd": 1_000_000, "n_head": 1_000_000, "n_positions": 10**9, "vocab_size": 10**9}
SHOWN_PROBLEMS = 50
WITHOUT_SHORTCUTS = "_without_shortcuts"  # ends the names that would tell others that this is a GPT-2
# What this GPT computes: a checkpoint that wants something else would load and give wrong logits.
FIXED_CONFIG = {
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def write_config(folder: Path, config: GPTConfig, end_of_text_id: int) -> None:
    """Write config.json in Hugging Face's names, plus `qkv_bias` and `shortcuts`, which they do not know.

    How attention is computed is not part of a model. Other programs would pass over `shortcuts: false` and compute
    other logits, so a model without shortcuts gets names that they refuse: transformers' Auto classes know no
    `model_type` gpt2_without_shortcuts, and `GPT2LMHeadModel`, which only warns of that, no such activation.
    """
    ending = "" if config.shortcuts else WITHOUT_SHORTCUTS
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    shape = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    drop_rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.drop_rate)
    write_json(
        folder / CONFIG,
        {
            "architectures": [f"GPT2LMHeadModel{ending}"],
            "model_type": f"gpt2{ending}",
            "activation_function": f"{activation}{ending}",
            **{key: allowed[0] for key, allowed in FIXED_CONFIG.items()},
            **shape,
            **drop_rates,
            "qkv_bias": config.qkv_bias,
            "shortcuts": config.shortcuts,
            "tie_word_embeddings": config.tie_embeddings,
            "bos_token_id": end_of_text_id,
            "eos_token_id": end_of_text_id,
        },
    )


def read_config(folder: Path) -> GPTConfig:
    """Read a model folder's config.json; what attention is computed with is not in it and is `sdpa`.

    Raises InputError if it is missing, is not JSON, lacks a key or describes another kind of model.
    """
    path = folder / CONFIG
    found = read_description(path, "model")
    problems = [
        f"{key} is {found.get(key)!r}, expected a whole number from 1 to {LARGEST[key]:,}"
        for key in CONFIG_NAMES.values()
        if type(found.get(key)) is not int or not 1 <= found[key] <= LARGEST[key]
    ]
    drop_rate = found.get("resid_pdrop", 0.1)  # transformers' default
    if type(drop_rate) not in (int, float) or not 0 <= drop_rate < 1:
        problems.append(f"resid_pdrop is {drop_rate!r}, expected a number from 0 to below 1")
    problems += [
        f"{key} is {found[key]!r}, expected true or false"
        for key in ("qkv_bias", "shortcuts", "tie_word_embeddings")
        if type(found.get(key, True)) is not bool
    ]
    ending = "" if found.get("shortcuts", True) else WITHOUT_SHORTCUTS
    activations = {f"{theirs}{ending}": ours for theirs, ours in ACTIVATIONS.items()}
    supported = {"model_type": (f"gpt2{ending}",), "activation_function": tuple(activations), **FIXED_CONFIG}
    problems += [
        f"{key} is {found[key]!r}, supported: {' or '.join(map(repr, allowed))}"
        for key, allowed in supported.items()
        if key in found and found[key] not in allowed
    ]
    if not problems and found["n_embd"] % found["n_head"]:
        problems.append(f"n_embd {found['n_embd']} is not a multiple of n_head {found['n_head']}")
    if not problems and found.get("n_inner") not in (None, 4 * found["n_embd"]):
        problems.append(f"n_inner is {found['n_inner']}, supported: null or 4 * n_embd = {4 * found['n_embd']}")
    if problems:
        raise InputError(f"{path} is not a GPT-2 configuration that can be used:" + bullets(problems))
    return GPTConfig(
        **{ours: found[theirs] for ours, theirs in CONFIG_NAMES.items()},
        drop_rate=float(drop_rate),
        qkv_bias=found.get("qkv_bias", True),
        tie_embeddings=found.get("tie_word_embeddings", True),
        activation=activations[found.get("activation_function", f"gelu_new{ending}")],
        shortcuts=found.get("shortcuts", True),
    )


def read_description(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object from a model folder; raise InputError that says there is no usable `kind` of model."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path.parent} holds no {kind} ({path.name} is missing): run `make repro` to build it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): run `make repro` to build it again") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): run `make repro` to build it again") from None
    if not isinstance(found, dict):
        raise InputError(
            f"{path} holds a {type(found).__name__}, not a JSON object: run `make repro` to build it again"
        )
    return found


def bullets(problems: list[str]) -> str:
    """Return the first problems of a file as the lines of a message, and how many more there are."""
    more = len(problems) - SHOWN_PROBLEMS
    return "".join(f"\n  - {problem}" for problem in problems[:SHOWN_PROBLEMS]) + (
        f"\n  and {more:,} more" if more > 0 else ""
    )
