"""What a base model is: how large, and how well it predicts a corpus before any fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scratchlm.checkpoint.folder import load_checkpoint
from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.model.gpt import n_parameters
from scratchlm.training.loop import MEASURED_BATCHES, Loader, mean_loss
from scratchlm.training.loss import next_token_loss


@dataclass(frozen=True)
class BaseMeasures:
    """A base's size, and its loss on a corpus that its tokenizer has cut, in nats per token."""

    parameters: int
    bytes: int  # of the weights file
    validation_loss: float | None  # None where the base cannot read the corpus: another vocabulary, longer windows


def measure_base(
    folder: Path, windows: Dataset[tuple[Tensor, Tensor]], vocab_size: int, batch_size: int, device: torch.device
) -> BaseMeasures:
    """Measure a base as pretraining measures its model: the mean loss over whole batches, of which at most 200.

    `windows` are examples (inputs, targets), each [T] int64, of ids below `vocab_size`; a list of indices gives a
    batch of them, as `Windows` does.
    """
    model = load_checkpoint(folder).to(device)
    longest = windows[0][0].shape[-1]
    loss = None
    if model.config.vocab_size == vocab_size and longest <= model.config.context_length:
        batches: Loader = DataLoader(windows, batch_size, collate_fn=lambda batch: batch)  # gathered already
        loss = mean_loss(model, next_token_loss(model), batches, device, MEASURED_BATCHES)
    return BaseMeasures(n_parameters(model), (folder / WEIGHTS).stat().st_size, loss)
