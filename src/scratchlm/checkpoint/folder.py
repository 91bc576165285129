"""Saving, loading and checking a checkpoint: the weights, the tokenizer, and the JSON that describes both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from scratchlm.checkpoint.config_json import CONFIG, layout_of, read_config, read_description, write_config
from scratchlm.checkpoint.optimizer import OPTIMIZER
from scratchlm.checkpoint.weights import WEIGHTS, check_weights, load_weights
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.tensors import save_tensors
from scratchlm.model.config import AttentionKind, ModelConfig
from scratchlm.model.init import empty_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer, write_hugging_face_tokenizer, write_settings
from scratchlm.tokenizer.protocol import Tokenizer


def save_checkpoint(
    folder: Path, model: LanguageModel, tokenizer_folder: Path, optimizer_state: Mapping[str, Tensor] | None = None
) -> None:
    """Write `model` and its tokenizer as a checkpoint that transformers loads.

    With an `optimizer_state` a training can go on from it; nothing but `load_optimizer_state` reads that file.
    Needs memory for one more tensor, not for a second copy of the model.
    Exception: transformers rejects models without shortcuts, see `gpt2_layout.config_to_json`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        save_tensors(temporary / WEIGHTS, layout_of(model.config).stored_tensors(model))
        write_hugging_face_tokenizer(tokenizer_folder, temporary)
        write_descriptions(temporary, model.config)
        if optimizer_state is not None:
            save_tensors(temporary / OPTIMIZER, optimizer_state)


def write_descriptions(folder: Path, config: ModelConfig) -> None:
    """Write what transformers and others must know of a model and its tokenizer, whose tokenizer.json is there."""
    tokenizer = read_hugging_face_tokenizer(folder)
    write_config(folder, config, tokenizer)
    write_settings(folder, tokenizer, config.context_length)


def check_checkpoint(folder: Path) -> ModelConfig:
    """Check a checkpoint without loading its weights, and return its configuration.

    Raises OutputError that lists every missing, unknown or misshapen tensor at once.
    """
    config = read_config(folder)
    check_weights(layout_of(config), folder / WEIGHTS)
    read_hugging_face_tokenizer(folder)
    return config


def load_checkpoint(folder: Path, drop_rate: float = 0.0, attention: AttentionKind = "sdpa") -> LanguageModel:
    """Load a checkpoint onto the CPU, in float32 and evaluation mode.

    `drop_rate` is for training it on, whatever dropout it was trained with before; the book uses none (chapter 6.4).
    Raises OutputError that lists every missing, unknown or misshapen tensor at once.
    """
    config = replace(read_config(folder), drop_rate=drop_rate)
    layout = layout_of(config)
    check_weights(layout, folder / WEIGHTS)  # before memory is allocated
    model = empty_model(config, attention)
    load_weights(model, layout, folder / WEIGHTS)
    return model.eval()


def load(folder: Path, drop_rate: float = 0.0) -> tuple[LanguageModel, Tokenizer]:
    """Load the model and the tokenizer of a checkpoint, such as `models/assistant`; see `load_checkpoint`."""
    return load_checkpoint(folder, drop_rate), read_hugging_face_tokenizer(folder)


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise InputError if a checkpoint and a tokenizer differ in the size of the vocabulary or the end of text."""
    model_size = read_config(folder).vocab_size
    model_end = read_description(folder / CONFIG, "model").get("eos_token_id")
    if model_size != tokenizer.n_vocab:
        difference = f"has {model_size} tokens, the tokenizer {tokenizer.n_vocab}"
    elif model_end != tokenizer.eot_token:
        difference = f"ends its texts with token {model_end}, the tokenizer with {tokenizer.eot_token}"
    else:
        return
    raise InputError(
        f"the model in {folder} {difference}: a model can only be used with the tokenizer it was trained with (for "
        "GPT-2's weights, set tokenizer.kind to gpt2)"
    )
