"""Reading and writing the config.json of a checkpoint, and writing generation_config.json beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from scratchlm.checkpoint import gpt2_layout, llama_layout
from scratchlm.checkpoint.gpt2_layout import GPT2Layout
from scratchlm.checkpoint.llama_layout import LlamaLayout
from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_json
from scratchlm.files.text import bullets, read_json
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.tokenizer.protocol import Tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"
SHOWN_PROBLEMS = 50


def write_config(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Write config.json with Hugging Face's names, and how transformers generates: greedily, and within the context."""
    end_of_text_id = tokenizer.eot_token
    if isinstance(config, LlamaConfig):
        described = llama_layout.config_to_json(config, end_of_text_id)
    else:
        described = gpt2_layout.config_to_json(cast(GPTConfig, config), end_of_text_id)
    write_json(folder / CONFIG, described)
    stop_ids = sorted(tokenizer.stop_ids)
    write_json(
        folder / GENERATION,
        {
            "bos_token_id": end_of_text_id,
            "eos_token_id": stop_ids if len(stop_ids) > 1 else end_of_text_id,
            "pad_token_id": end_of_text_id,
            "max_length": config.context_length,
            "do_sample": False,
        },
    )


def read_config(folder: Path) -> ModelConfig:
    """Read the config.json of a checkpoint.

    Raises InputError if it is missing, is not JSON, lacks a key or describes another kind of model.
    """
    path = folder / CONFIG
    found = read_description(path, "model")
    model_type = found.get("model_type", gpt2_layout.MODEL_TYPES[0])
    is_llama = model_type == llama_layout.MODEL_TYPE
    if not is_llama and model_type not in gpt2_layout.MODEL_TYPES:
        raise InputError(
            f"{path} describes another kind of model: model_type is {model_type!r}, supported: 'gpt2' or 'llama'"
        )
    if problems := (llama_layout if is_llama else gpt2_layout).config_problems(found):
        name = "Llama" if is_llama else "GPT-2"
        raise InputError(f"{path} is not a {name} configuration that can be used:" + bullets(problems, SHOWN_PROBLEMS))
    return llama_layout.config_from_json(found) if is_llama else gpt2_layout.config_from_json(found)


def layout_of(config: ModelConfig) -> GPT2Layout | LlamaLayout:
    """Return how a checkpoint stores the tensors of a model."""
    return LlamaLayout(config) if isinstance(config, LlamaConfig) else GPT2Layout(cast(GPTConfig, config))


def read_description(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object that describes a `kind` of model; raise OutputError if there is none."""
    if not path.exists():
        raise OutputError(f"{path.parent} holds no {kind} ({path.name} is missing)")
    found = read_json(path, f"the description of a {kind}", OutputError)
    if not isinstance(found, dict):
        raise OutputError(f"{path} holds a {type(found).__name__}, wanted the description of a {kind}")
    return found
