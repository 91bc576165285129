"""What is known of a model that is exported: what it is, where it comes from, and how it is to be called."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from scratchlm.assistant.folder import DESCRIPTION, read_style
from scratchlm.checkpoint.config_json import layout_of, read_config
from scratchlm.checkpoint.folder import check_vocabulary
from scratchlm.checkpoint.weights import WEIGHTS, check_weights
from scratchlm.classifier.folder import DESCRIPTION as CLASSIFIER
from scratchlm.errors import InputError
from scratchlm.export.gguf_file import Dtype
from scratchlm.export.gguf_layout import check_expressible, is_absent
from scratchlm.export.last_run import BASES_STAGE, LastRun, find_run
from scratchlm.export.origin import Origin, find_origin
from scratchlm.export.vocabulary import check_bytes
from scratchlm.model.config import ModelConfig
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer

YOU = "YOU"  # stands for the name of an account on the hub
QUESTION, BEGINNING = "What is the opposite of hot?", "One morning"
# As Ollama and the hub take it (huggingface_hub.utils.validate_repo_id).
NAME = re.compile(r"(?!.*(?:--|\.\.|\.git$))[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub names it: mit, cc-by-4.0


@dataclass(frozen=True)
class ExportedModel:
    """A language model under the name that it is exported as."""

    folder: Path  # where it is now
    name: str
    dtype: Dtype
    config: ModelConfig
    n_parameters: int
    style: PromptStyle | None  # None for a model that continues texts
    licence: str | None  # as the hub names it
    origin: Origin | None  # None for one trained from scratch
    run: LastRun | None  # None if it is not what the last run wrote

    @property
    def gguf_name(self) -> str:
        """The name of the GGUF file; from its end the hub knows how the weights are stored."""
        return f"{self.name}-{self.dtype.upper()}.gguf"

    @property
    def example(self) -> str:
        """A prompt for it."""
        return BEGINNING if self.style is None else QUESTION

    @property
    def is_base(self) -> bool:
        """Whether it holds the weights of other people as they are."""
        return self.run is not None and self.run.stage == BASES_STAGE and self.origin is not None


def read_exported(folder: Path, dtype: Dtype, name: str | None, licence: str | None) -> ExportedModel:
    """Check a model folder and what was asked for, without reading the weights into memory.

    Raises InputError and OutputError as `export_model` does.
    """
    name = folder.resolve().name if name is None else name
    if not NAME.fullmatch(name):
        raise InputError(
            f"--name: got {name!r}, wanted at most 63 letters, digits, dots, hyphens and underscores, the first and "
            "the last one a letter or a digit, without -- or .., and no .git at the end"
        )
    if licence is not None and not LICENCE.fullmatch(licence):
        raise InputError(f"--license: got {licence!r}, wanted the hub's name of a licence, such as mit or apache-2.0")
    if (folder / CLASSIFIER).exists():
        raise InputError(f"{folder} holds a classifier, which llama.cpp cannot run: name a folder of a language model")
    config = read_config(folder)
    check_expressible(config)
    layout = layout_of(config)
    check_weights(layout, folder / WEIGHTS)
    tokenizer = read_hugging_face_tokenizer(folder)
    check_bytes(tokenizer)
    check_vocabulary(folder, tokenizer)
    shapes = layout.stored_shapes()
    n_parameters = sum(math.prod(shape) for key, shape in shapes.items() if not is_absent(config, key))
    style = read_style(folder) if (folder / DESCRIPTION).exists() else None
    run = find_run(folder)
    origin = find_origin(config, run)
    if licence is None and origin is not None and origin.certain:
        licence = origin.licence
    return ExportedModel(folder, name, dtype, config, n_parameters, style, licence, origin, run)
