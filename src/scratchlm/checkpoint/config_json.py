"""Reading and writing the config.json of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchlm.checkpoint import gpt2_layout
from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_json
from scratchlm.files.text import bullets, read_json
from scratchlm.model.config import GPTConfig

CONFIG = "config.json"
SHOWN_PROBLEMS = 50


def write_config(folder: Path, config: GPTConfig, end_of_text_id: int) -> None:
    """Write config.json with Hugging Face's names."""
    write_json(folder / CONFIG, gpt2_layout.config_to_json(config, end_of_text_id))


def read_config(folder: Path) -> GPTConfig:
    """Read the config.json of a checkpoint.

    Raises InputError if it is missing, is not JSON, lacks a key or describes another kind of model.
    """
    path = folder / CONFIG
    found = read_description(path, "model")
    if problems := gpt2_layout.config_problems(found):
        raise InputError(f"{path} is not a GPT-2 configuration that can be used:" + bullets(problems, SHOWN_PROBLEMS))
    return gpt2_layout.config_from_json(found)


def read_description(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object that describes a `kind` of model; raise OutputError if there is none."""
    if not path.exists():
        raise OutputError(f"{path.parent} holds no {kind} ({path.name} is missing)")
    found = read_json(path, f"the description of a {kind}", OutputError)
    if not isinstance(found, dict):
        raise OutputError(f"{path} holds a {type(found).__name__}, wanted the description of a {kind}")
    return found
