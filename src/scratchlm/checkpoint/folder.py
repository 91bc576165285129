"""Model folders: checkpoints in Hugging Face's layout (config.json, model.safetensors, tokenizer files), both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scratchlm.checkpoint.config_json import CONFIG, read_config, read_description, write_config
from scratchlm.checkpoint.gpt2_layout import GPT2Layout
from scratchlm.checkpoint.weights import WEIGHTS, check_weights, load_weights, save_tensors
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import empty_gpt
from scratchlm.tokenizer.folder import copy_tokenizer_for_hugging_face, read_hugging_face_tokenizer, read_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer, end_of_text


def save_checkpoint(folder: Path, model: GPT, tokenizer_folder: Path) -> None:
    """Write `model` and its tokenizer as a folder that transformers' `GPT2LMHeadModel` loads.

    All but a model without shortcuts, which is not a GPT-2: see `gpt2_layout.config_to_json`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_config(temporary, model.config, end_of_text(read_tokenizer(tokenizer_folder)))
        save_tensors(temporary / WEIGHTS, GPT2Layout(model.config).stored_tensors(model))
        copy_tokenizer_for_hugging_face(tokenizer_folder, temporary)


def check_checkpoint(folder: Path) -> GPTConfig:
    """Return the shape of the model in a folder, whose weights and tokenizer were checked but not loaded.

    Raises InputError that lists every missing, unknown or misshapen tensor at once.
    """
    config = read_config(folder)
    check_weights(GPT2Layout(config), folder / WEIGHTS)
    read_hugging_face_tokenizer(folder)
    return config


def load_checkpoint(folder: Path) -> GPT:
    """Load a model folder into a GPT on the CPU, in float32 and evaluation mode, without dropout.

    Raises InputError that lists every missing, unknown or misshapen tensor at once.
    """
    config = replace(read_config(folder), drop_rate=0.0)
    layout = GPT2Layout(config)
    check_weights(layout, folder / WEIGHTS)  # before memory is taken for what the file does not hold
    model = empty_gpt(config)
    load_weights(model, layout, folder / WEIGHTS)
    return model.eval()


def load(folder: Path) -> tuple[GPT, Tokenizer]:
    """Load the model and the tokenizer of a model folder, such as `models/assistant`."""
    return load_checkpoint(folder), read_hugging_face_tokenizer(folder)


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise InputError if a model folder's vocabulary is not the tokenizer's: other size, or other end of text."""
    model_size = read_config(folder).vocab_size
    model_end = read_description(folder / CONFIG, "model").get("eos_token_id")
    if model_size != tokenizer.n_vocab:
        difference = f"has {model_size} tokens, the tokenizer {tokenizer.n_vocab}"
    elif model_end != end_of_text(tokenizer):
        difference = f"ends its texts with token {model_end}, the tokenizer with {end_of_text(tokenizer)}"
    else:
        return
    raise InputError(
        f"the model in {folder} {difference}: a model can only be used with the tokenizer it was trained with (for "
        "GPT-2's weights, set tokenizer.kind to gpt2)"
    )
