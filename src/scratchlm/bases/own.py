"""Getting a base that is a checkpoint of our own."""

from __future__ import annotations

import shutil
from pathlib import Path

from scratchlm.checkpoint.folder import check_checkpoint
from scratchlm.checkpoint.optimizer import OPTIMIZER
from scratchlm.model.config import ModelConfig


def copy_checkpoint(source: Path, folder: Path) -> ModelConfig:
    """Copy a checkpoint without its optimizer, after the checks that a downloaded one gets."""
    config = check_checkpoint(source)
    folder.mkdir(parents=True)
    for path in sorted(path for path in source.iterdir() if path.is_file() and path.name != OPTIMIZER):
        shutil.copyfile(path, folder / path.name)
    return config
