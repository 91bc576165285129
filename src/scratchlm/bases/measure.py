"""Measures of a base: its size, and its loss on the corpus before any fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.training.loaders import Loader
from scratchlm.training.loss import next_token_loss
from scratchlm.training.measuring import MEASURED_BATCHES, loss_per_target


@dataclass(frozen=True)
class BaseMeasures:
    """The size of a base, and its loss on the tokenized corpus, in nats per token."""

    parameters: int
    bytes: int  # of the weights file
    validation_loss: float | None  # None if its tokens are others or the windows are too long


def measure_base(model: LanguageModel, folder: Path, batches: Loader | None, max_length: int) -> BaseMeasures:
    """Measure the base in a folder as pretraining measures its model: the loss per token over at most 200 batches.

    `batches` are inputs and targets, each [B, max_length] int64; None if their ids are another tokenizer's.
    """
    loss = None
    if batches is not None and max_length <= model.config.context_length:
        loss = loss_per_target(model, next_token_loss, batches, MEASURED_BATCHES)
    return BaseMeasures(n_parameters(model), (folder / WEIGHTS).stat().st_size, loss)
