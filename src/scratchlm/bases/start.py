"""The start of pretraining: random weights, or a model folder of the user's to train on (chapter 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from scratchlm.checkpoint.config_json import read_config
from scratchlm.checkpoint.folder import load_checkpoint
from scratchlm.checkpoint.optimizer import OPTIMIZER, load_optimizer_state
from scratchlm.errors import InputError, OutputError
from scratchlm.files.inputs import own_paths
from scratchlm.files.text import bullets
from scratchlm.model.config import LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.schema import ModelParams
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer

STAGE, RANDOM = "pretrain", "random"


class Start(NamedTuple):
    """A model to train, on the CPU, and the state with which its optimizer goes on; None for a fresh one."""

    model: LanguageModel
    optimizer_state: Mapping[str, Tensor] | None


def start_model(start: str, inputs: Path, params: ModelParams, tokenizer: Tokenizer) -> Start:
    """Return the model that `params` describe with random weights from torch's generator, or with those of a folder.

    `start` is `random` or a model folder; `inputs` is where a user's own folders are tracked (see `own_paths`). Dropout
    and attention are those of `params`. Raises InputError for a folder that is missing, damaged or does not fit.
    """
    config = params.config(tokenizer.n_vocab)
    if start == RANDOM:
        return Start(new_model(config, params.init, params.init_std, params.attention), None)
    (folder,) = own_paths([start], inputs, STAGE)
    if not folder.is_dir():
        raise InputError(
            f"{STAGE}.start: {start} is no folder, wanted `random` or a model folder, such as a copy of "
            f"models/pretrained in {inputs}/; paths are relative to the project's folder"
        )
    try:
        _check_fit(start, folder, config, tokenizer)
        model = load_checkpoint(folder, config.drop_rate, params.attention)
        state = load_optimizer_state(folder, model)
    except OutputError as error:  # it is no out of a stage here: `make repro` would not build it again
        raise InputError(f"{STAGE}.start: {error}\nName a complete model folder, or copy it again") from None
    source = f"the state in {OPTIMIZER}" if state is not None else f"a fresh state: there is no {OPTIMIZER}"
    print(f"starts with the weights of {start}; AdamW with {source}")
    return Start(model, state)


def _check_fit(start: str, folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raise InputError that lists every difference in shape, and in the tokens."""
    found, wanted = (_shape(shape) for shape in (read_config(folder), config))
    problems = [
        f"{key} is {found[key]!r}, wanted {value!r}"
        for key, value in wanted.items()
        if key in found and found[key] != value  # another architecture, which differs itself, has other keys
    ]
    theirs, ours = read_hugging_face_tokenizer(folder).tokens(), tokenizer.tokens()
    if differing := [index for index, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b]:
        first = differing[0]
        problems.append(
            f"{len(differing):,} of its tokens are others: {first} is {theirs[first]!r}, wanted {ours[first]!r}"
        )
    if problems:
        raise InputError(
            f"{STAGE}.start: {start} differs from the model of params.yaml and the tokenizer in data/tokenizer: set "
            "the model's keys to the values of that folder, and make the tokenizer it was trained with, or start "
            "from another folder" + bullets(problems, len(problems))
        )


def _shape(config: ModelConfig) -> dict[str, Any]:
    """Return the architecture and its shape, without what a folder may have of its own: dropout and epsilon."""
    shape = {"architecture": "llama" if isinstance(config, LlamaConfig) else "gpt2", **asdict(config)}
    return {key: value for key, value in shape.items() if key not in ("drop_rate", "norm_epsilon")}
