"""Measuring a model on batches: the loss, or whatever else is summed over their targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scratchlm.stage.processes import summed
from scratchlm.training.loaders import Loader, Loaders
from scratchlm.training.loss import Batch, Loss, Measure, count_targets
from scratchlm.training.parallel import forked_random
from scratchlm.training.shares import micro_batch, own_parts

MEASURED_BATCHES = 200  # of validation; limits the time it takes to measure a large corpus
MEASURED_TRAIN_BATCHES = 25  # a sample is enough: what was learned is told by validation, and all take minutes on a CPU


class Losses(NamedTuple):
    """The mean loss of each split, in nats per target."""

    train: float
    validation: float


def mean_loss(model: nn.Module, loss: Loss, loader: Loader, n_batches: int | None = None) -> float:
    """Return the loss as `batch_means` does."""
    return batch_means(model, lambda *arguments: {"loss": loss(*arguments)}, loader, n_batches)["loss"]


def loss_per_target(model: nn.Module, loss: Loss, loader: Loader, n_batches: int | None = None) -> float:
    """Return the loss as `target_means` does."""
    return target_means(model, lambda *arguments: {"loss": loss(*arguments)}, loader, n_batches)["loss"]


def batch_means(model: nn.Module, measure: Measure, loader: Loader, n_batches: int | None = None) -> dict[str, float]:
    """Return the means of the means of the first `n_batches` batches (all if None); the loss is in nats.

    This is what the book prints. A shorter last batch weighs as much as the others.
    """
    sums, counts = batch_sums(model, measure, loader, n_batches)
    means: dict[str, list[float]] = {name: (each / counts).tolist() for name, each in sums.items()}
    return {name: sum(each) / len(each) for name, each in means.items()}


def target_means(model: nn.Module, measure: Measure, loader: Loader, n_batches: int | None = None) -> dict[str, float]:
    """Return the means over all targets in the first `n_batches` batches (all if None); the loss is in nats.

    Each target weighs as much as any other, so that it does not matter how many stand together in a batch.
    """
    sums, counts = batch_sums(model, measure, loader, n_batches)
    total = int(counts.sum())
    return {name: math.fsum(each.tolist()) / total for name, each in sums.items()}


@torch.no_grad()
def batch_sums(
    model: nn.Module, measure: Measure, loader: Loader, n_batches: int | None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return sums and numbers of targets of the first `n_batches` batches (all if None), a value for each batch.

    All are on the CPU. No batch waits for the device, except for stored features, which are looked up on the CPU.
    Several processes share the rows of each batch, and all get the same sums.
    """
    rows, counts = [], []
    with evaluation_mode(model):
        for batch in islice(loader, n_batches):
            rows.append(own_sums(model, measure, batch))
            counts.append(count_targets(batch))
    # Only here: each value that is read waits for the device.
    return {name: summed(torch.stack([row[name] for row in rows]).cpu()) for name in rows[0]}, torch.stack(counts)


def own_sums(model: nn.Module, measure: Measure, batch: Batch) -> dict[str, Tensor]:
    """Return the sums over this process's rows of a batch, 0 if it has none."""
    parts = [(measure(model, part), counts) for part, counts in own_parts(batch, micro_batch())]
    return {
        name: torch.stack([part[name] if counts else torch.zeros_like(part[name]) for part, counts in parts]).sum()
        for name in parts[0][0]
    }


def measure_losses(model: nn.Module, loss: Loss, batches: Loaders, seed: int) -> Losses:
    """Return the loss per target of 25 training batches, drawn at random, and of all of validation, up to 200 batches.

    Draws with `seed` and restores torch's generators, so that measuring does not change the training.
    """
    with forked_random(next(model.parameters()).device):
        torch.manual_seed(seed)
        train = loss_per_target(model, loss, batches.train, MEASURED_TRAIN_BATCHES)
        return Losses(train, loss_per_target(model, loss, batches.validation, MEASURED_BATCHES))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode for the block, then back into its previous mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
