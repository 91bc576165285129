"""The assistant's folder: a checkpoint that also names the prompt style of its training, for us and for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from scratchlm.assistant.chat_template import TEMPLATE, jinja_template
from scratchlm.checkpoint.config_json import read_description
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.errors import OutputError
from scratchlm.files.atomic import atomic_path, write_json, write_text
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.protocol import Tokenizer

DESCRIPTION = "assistant.json"


def save_assistant(folder: Path, model: LanguageModel, tokenizer_folder: Path, style: PromptStyle) -> None:
    """Write a checkpoint with two more files: the prompt style of the model's training, by name and as a template."""
    with atomic_path(folder) as temporary:
        save_checkpoint(temporary, model, tokenizer_folder)
        write_json(temporary / DESCRIPTION, {"prompt_style": style})
        write_text(temporary / TEMPLATE, jinja_template(style))


def load_assistant(folder: Path, drop_rate: float = 0.0) -> tuple[LanguageModel, Tokenizer, PromptStyle]:
    """Load an assistant as `load` does; raise OutputError if the folder holds none."""
    style = read_style(folder)
    return *load(folder, drop_rate), style


def read_style(folder: Path) -> PromptStyle:
    """Return the prompt style of an assistant; raise OutputError if the folder holds none."""
    path = folder / DESCRIPTION
    style: Any = read_description(path, "assistant").get("prompt_style")
    if style not in get_args(PromptStyle):
        raise OutputError(f"{path}: prompt_style is {style!r}, wanted {' or '.join(get_args(PromptStyle))}")
    return style  # type: ignore[no-any-return]
