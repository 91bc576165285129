"""The one training loop: pretraining and both fine-tunings differ only in what they pass to it.

The loop draws random numbers in the order of the book's (one DataLoader iterator per epoch and per evaluated
split, dropout from the same generator): chapter 5's printed losses depend on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scratchlm.errors import InputError
from scratchlm.params.schema import TrainingParams
from scratchlm.stage.interruption import Interrupted, deferred, requested
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.state import (
    Evaluation,
    Progress,
    remaining_batches,
    take_up,
    trained_parameters,
    training_tensors,
)

Batch = tuple[Tensor, Tensor]
# Inputs and targets in; the SUM of the losses (a scalar tensor) and how many there were out.
Loss = Callable[[Tensor, Tensor], tuple[Tensor, int]]
Loader = DataLoader[Any]

MEASURED_BATCHES = 200  # bounds what measuring a large corpus costs


class Examples(Protocol):
    """A list of training examples, or anything that can be indexed like one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def train(
    model: nn.Module,
    loss: Loss,
    train_batches: Loader,
    validation_batches: Loader,
    params: TrainingParams,
    device: torch.device,
    name: str,
    after_epoch: Callable[[int], Any] = lambda epoch: None,
    snapshots: Snapshots | None = None,
) -> Progress:
    """Train the parameters of `model` that require a gradient; return the curve and what `after_epoch` returned.

    A row is added to the curve after the first step and every `eval_every` steps from there, as the book counts, and
    after the last. `after_epoch(epoch)` is called with the epoch's number, from 1, the model in evaluation mode; what
    it returns must be something JSON can hold. With `snapshots` an interrupted training goes on where it stopped.
    Raises InputError when a loss or gradient is not finite (before the update, if it shows before), and when the
    warmup would never end; Interrupted on request, between two steps.
    """
    trainable = [parameter for _, parameter in trained_parameters(model)]
    optimizer = torch.optim.AdamW(trainable, lr=params.learning_rate, weight_decay=params.weight_decay, fused=True)
    total_steps = params.epochs * len(train_batches)
    if params.warmup_steps >= total_steps:
        raise InputError(
            f"{name}.warmup_steps is {params.warmup_steps}, but the training has {total_steps} steps in all: the "
            "learning rate would never be reached; warm up for fewer steps or train for longer"
        )
    saved = snapshots.load() if snapshots else None
    progress = take_up(model, optimizer, *saved) if saved else Progress()
    if saved:
        print(f"going on after step {progress.steps} of {total_steps}")
    seconds, first_step = 0.0, progress.steps

    def keep_if_asked() -> None:
        stopping, ended = requested(), progress.epoch > params.epochs  # what comes after takes time, too
        if snapshots and (stopping or ended or snapshots.is_due()):
            # The last update has not met a batch yet: a snapshot must be one to go on from.
            norm = nn.utils.get_total_norm([parameter.detach() for parameter in trainable])
            _check_finite(norm.item(), "norm of the weights", name, step, learning_rate, snapshots)
            snapshots.save(training_tensors(model, optimizer, progress), progress.notes())
        if stopping and not (snapshots and snapshots.are_kept):
            raise KeyboardInterrupt
        if stopping:
            raise Interrupted(f"after step {progress.steps} of {total_steps}")

    model.train()
    with deferred(), progress_bar(total_steps, name, "step", initial=progress.steps) as bar:
        while progress.epoch <= params.epochs:
            for inputs, targets in remaining_batches(train_batches, progress):
                started = time.perf_counter()
                step = progress.steps
                learning_rate = learning_rate_at(step, total_steps, params)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate
                optimizer.zero_grad()
                loss_sum, n_targets = loss(inputs.to(device), targets.to(device))
                batch_loss = loss_sum / n_targets
                batch_loss.backward()  # type: ignore[no-untyped-call]
                _check_finite(batch_loss.item(), "loss", name, step, learning_rate, snapshots)
                gradients = [parameter.grad for parameter in trainable if parameter.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                _check_finite(norm.item(), "gradient", name, step, learning_rate, snapshots)
                if params.gradient_clip is not None:
                    nn.utils.clip_grads_with_norm_(trainable, params.gradient_clip, norm)
                optimizer.step()
                progress.tokens_seen += inputs.numel()
                progress.steps += 1
                progress.batch += 1
                seconds += time.perf_counter() - started
                bar.update()
                scheduled = step % params.eval_every == 0
                if scheduled or step == total_steps - 1:
                    # The book does not evaluate after the last step: ours must not change what is drawn from there.
                    with nullcontext() if scheduled else torch.random.fork_rng():
                        train_loss = mean_loss(model, loss, train_batches, device, params.eval_batches)
                        validation_loss = mean_loss(model, loss, validation_batches, device, params.eval_batches)
                    _check_finite(train_loss + validation_loss, "evaluated loss", name, step, learning_rate, snapshots)
                    progress.curve.append(
                        Evaluation(step, progress.tokens_seen, learning_rate, train_loss, validation_loss)
                    )
                    per_step = seconds / (progress.steps - first_step)
                    bar.write(
                        f"step {step:5d} {100 * (step + 1) / total_steps:3.0f} %  train {train_loss:.3f}  "
                        f"val {validation_loss:.3f}  lr {learning_rate:.1e}  {inputs.numel() / per_step:,.0f} tok/s  "
                        f"{(total_steps - progress.steps) * per_step:.0f} s left"
                    )
                if progress.batch < len(train_batches):
                    keep_if_asked()
            with evaluation_mode(model):
                progress.epoch_notes.append(after_epoch(progress.epoch))
            progress.epoch, progress.batch = progress.epoch + 1, 0
            keep_if_asked()
    model.eval()
    return progress


def loaders(
    train_set: Examples,
    validation_set: Examples,
    batch_size: int,
    collate: Callable[[Any], Batch] | None = None,
) -> tuple[Loader, Loader]:
    """Return the batches of both splits: training shuffled, its last short batch dropped; validation neither.

    Raises InputError if there is no full batch to train on, or nothing to validate with.
    """
    if len(train_set) < batch_size:
        raise InputError(
            f"there are {len(train_set)} training examples, fewer than batch_size ({batch_size}): there is no full "
            "batch to train on; lower the batch size or use more data"
        )
    if not len(validation_set):
        raise InputError("the validation set is empty: use more data or another split")
    return (
        DataLoader(cast(Dataset[Any], train_set), batch_size, shuffle=True, drop_last=True, collate_fn=collate),
        DataLoader(cast(Dataset[Any], validation_set), batch_size, collate_fn=collate),
    )


def learning_rate_at(step: int, total_steps: int, params: TrainingParams) -> float:
    """Return a step's learning rate: a linear warmup, then constant or half a cosine down to the minimum."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    if params.schedule == "constant":
        return params.learning_rate
    progress = (step - params.warmup_steps) / max(1, total_steps - params.warmup_steps)
    span = params.learning_rate - params.min_learning_rate
    return params.min_learning_rate + span * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def mean_loss(
    model: nn.Module, loss: Loss, batches: Loader, device: torch.device, n_batches: int | None = None
) -> float:
    """Average the loss over the first `n_batches` batches (all if None), each batch counting the same.

    The mean of the batches' means is what the book prints; with batches of one size it is the mean of all.
    """
    with evaluation_mode(model):
        means = []
        for inputs, targets in islice(batches, n_batches):
            loss_sum, n_targets = loss(inputs.to(device), targets.to(device))
            means.append((loss_sum / n_targets).item())
    return sum(means) / len(means)


def measure_losses(
    model: nn.Module, loss: Loss, train_batches: Loader, validation_batches: Loader, device: torch.device, seed: int
) -> tuple[float, float]:
    """Return the training and validation loss over whole splits (200 batches of a larger one).

    Draws from a generator of its own, seeded with `seed`, so that measuring does not change a training.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (
            mean_loss(model, loss, train_batches, device, MEASURED_BATCHES),
            mean_loss(model, loss, validation_batches, device, MEASURED_BATCHES),
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off for the block, and back to what it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _check_finite(
    value: float, what: str, name: str, step: int, learning_rate: float, snapshots: Snapshots | None
) -> None:
    if math.isfinite(value):
        return
    latest = snapshots.latest if snapshots else None
    kept = f"the last good snapshot is {latest}" if latest else "there is no snapshot yet"
    raise InputError(
        f"the {what} is {value} at step {step} (learning rate {learning_rate:.2g}); stopped; {kept}. Run again as it "
        f"is, the training ends here again: lower {name}.learning_rate, or set {name}.warmup_steps and "
        f"{name}.gradient_clip, which starts it anew"
    )
