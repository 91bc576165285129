"""Build a large language model from scratch, as one reproducible pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scratchlm.model.language_model import LanguageModel
    from scratchlm.tokenizer.protocol import Tokenizer


def load(folder: str | Path) -> tuple[LanguageModel, Tokenizer]:
    """Load the model and the tokenizer of a model folder, such as `models/assistant`.

    The model is on the CPU, in float32 and evaluation mode. Raises InputError if the folder holds none.
    """
    # Torch takes seconds to import, and most of the library does without it.
    from scratchlm.checkpoint.folder import load as load_folder

    return load_folder(Path(folder))
