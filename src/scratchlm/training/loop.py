"""The training loop: pretraining and all fine-tunings differ only in the arguments they pass.

The loop draws random numbers in the same order as the book's (one DataLoader iterator per epoch and per evaluated
split, dropout from the same generator): chapter 5's printed losses depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from scratchlm.errors import InputError
from scratchlm.model.language_model import n_parameters
from scratchlm.params.schema import TrainingParams
from scratchlm.stage.device import autocast
from scratchlm.stage.interruption import deferred, requested
from scratchlm.stage.processes import is_first, n_processes, summed
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.best import best_of, copy_weights, describe_end, is_out_of_patience, put_weights
from scratchlm.training.compiled import compile_if_asked, uncompiled
from scratchlm.training.guard import FiniteGuard
from scratchlm.training.loaders import Loaders
from scratchlm.training.loss import Batch, Loss, Measure, count_targets
from scratchlm.training.measuring import MEASURED_BATCHES, batch_means, target_means
from scratchlm.training.optimizer import n_trained_parameters, new_optimizer, set_state, state_of, trained_parameters
from scratchlm.training.parallel import forked_random, own_dropout, replicate, total_norm, whole_in_first
from scratchlm.training.schedule import learning_rate_at
from scratchlm.training.shares import micro_batch, own_parts
from scratchlm.training.state import (
    Evaluation,
    TrainingState,
    remaining_batches,
    restore,
    state_tensors,
)
from scratchlm.training.throughput import Throughput


def train(
    model: nn.Module,
    *,
    loss: Loss,
    batches: Loaders,
    params: TrainingParams,
    name: str,
    after_epoch: Callable[[int], Any] = lambda epoch: None,
    report: Callable[[TrainingState], Any] = lambda state: None,
    snapshots: Snapshots | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    measure: Measure | None = None,
) -> TrainingState:
    """Train the parameters of `model` that require a gradient; return the curve and what `after_epoch` returned.

    Several processes train it together: each calls this with the same arguments and ends with the same result.

    The curve gets a row after the first step, then every `eval_every` steps, as in the book, and after the last step.
    `after_epoch(epoch)` is called with the epoch's number, from 1, and the model in evaluation mode; what it returns
    must fit into JSON. `report(state)` is called after each of both, to show what there is so far, by the first process
    alone. With `snapshots`, an interrupted training resumes where it stopped. `optimizer` is one that `new_optimizer`
    made for `model`; by default it starts without a state. It ends with the last one, which is on the CPU of the first
    process alone if each process trains a share of the model. `measure` gives the rows of the curve more than the
    loss, on the same batches.

    The model ends with its last weights, or with those of the best evaluation (`params.keep`). With `params.patience`
    the training may stop before its last step; the epoch in which it stops counts as ended.
    Raises InputError if a loss or gradient is not finite (the weights stay as they were before that step), or if
    the warmup is not shorter than the training; Interrupted between two steps if a stop was requested.
    """
    print(f"training {n_trained_parameters(model):,} of {n_parameters(model):,} parameters")
    run = Training(model, loss, batches, params, name, snapshots, optimizer, measure)
    state, report = run.state, report if is_first() else lambda state: None
    run.model.train()
    if state.curve:
        report(state)  # DVC has deleted what was shown before the interruption
    with deferred(), progress_bar(run.total_steps, name, "step", initial=state.steps) as bar:
        while not run.has_ended():
            for batch in remaining_batches(batches.train, state):
                run.update(batch)
                bar.update()
                if run.is_evaluation_due():
                    run.evaluate()
                    bar.write(run.console_line())
                    report(state)
                    if is_out_of_patience(state.curve, params.patience):
                        break
                if state.batch < len(batches.train):
                    run.keep()
            run.guard.check()
            run.throughput.pause()
            with run.replica.looked_at(), uncompiled():
                state.epoch_notes.append(after_epoch(state.epoch))
            report(state)
            state.epoch, state.batch = state.epoch + 1, 0
            run.keep()
    run.finish()
    if end := describe_end(state, run.total_steps, params):
        print(end)
    model.eval()
    return state


class Training:
    """A running training: the arguments of `train`, and what changes from step to step."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Loaders,
        params: TrainingParams,
        name: str,
        snapshots: Snapshots | None,
        optimizer: torch.optim.Optimizer | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.loss, self.batches, self.params = loss, batches, params
        self.measure: Measure = measure or (lambda model, batch: {"loss": loss(model, batch)})
        self.snapshots = snapshots
        self.total_steps = params.epochs * len(batches.train)
        if params.warmup_steps >= self.total_steps:
            raise InputError(
                f"{name}.warmup_steps is {params.warmup_steps}, but the training has {self.total_steps} steps: "
                "the learning rate would never be reached; warm up for fewer steps or train for longer"
            )
        self.seed = torch.initial_seed()
        self.replica = replicate(model)
        self.model = self.replica.trained  # of which this process may have only a share
        self.weights = [parameter for _, parameter in trained_parameters(self.model)]
        self.given_optimizer = optimizer
        if optimizer is None or self.model is not model:
            optimizer = new_optimizer(self.model, params, state_of(model, optimizer) if optimizer else None)
            if self.given_optimizer:
                self.given_optimizer.state.clear()  # what all processes have is shared now
        self.optimizer = optimizer
        self.guard = FiniteGuard(self.optimizer, name, lambda: snapshots and snapshots.latest)
        self.state = TrainingState()
        if snapshots and (saved := snapshots.load()):
            self.state = restore(self.model, self.optimizer, *saved)
            print(f"resuming after {self.position()}")
        self.throughput = Throughput(self.model)
        compile_if_asked(self.model)
        self.learning_rate = params.learning_rate  # of the last step

    def update(self, batch: Batch) -> Tensor:
        """Take one step on a batch that is still on the CPU and return its mean loss, a scalar on the device.

        The CPU does not wait for the GPU, except for stored features.

        These are looked up on the CPU, by ids that come back from the device; see `frozen.UpperModel`.

        The parts of the batch, `accumulate` many or as SCRATCHLM_MICRO_BATCH says, are computed one after the other:
        only one of them needs memory. Of several processes, each computes parts of its own rows. The loss is computed
        in `precision`; the gradients, the optimizer's state and the weights are float32.
        """
        self.throughput.start()
        state = self.state
        self.learning_rate = learning_rate_at(state.steps, self.total_steps, self.params)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.zero_grad()
        mean = self.backward(batch)
        norm = total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        if self.params.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(self.weights, self.params.gradient_clip, norm)
        self.guard.watch(state.steps, self.learning_rate, mean, norm)
        self.optimizer.step()
        state.steps, state.batch = state.steps + 1, state.batch + 1
        state.tokens_seen += batch[0].numel()
        self.throughput.count(batch)
        return mean

    def backward(self, batch: Batch) -> Tensor:
        """Find the gradients of the mean loss of a whole batch, of which this process computes its rows; return it."""
        n_targets = count_targets(batch)  # of the whole batch: its parts may have very different numbers
        parts = [
            part for part, _ in own_parts(batch, micro_batch() or self.params.batch_size // self.params.accumulate)
        ]
        shares = []
        with own_dropout(self.seed, self.state.steps, self.replica.device):
            for number, part in enumerate(parts, start=1):
                with self.replica.adding_up(is_last=number == len(parts)):
                    with autocast(self.model, self.params.precision):
                        share = self.loss(self.replica.called, part) / n_targets
                    # The processes' gradients are not added up but averaged.
                    share.backward(torch.full_like(share, n_processes()))  # type: ignore[no-untyped-call]
                shares.append(share.detach())
        return summed(torch.stack(shares).sum())

    def has_ended(self) -> bool:
        """True after the last epoch, or if patience has run out."""
        return self.state.epoch > self.params.epochs or is_out_of_patience(self.state.curve, self.params.patience)

    def is_evaluation_due(self) -> bool:
        """True if the step that just ended adds a row to the curve."""
        return self.is_scheduled() or self.state.steps == self.total_steps

    def is_scheduled(self) -> bool:
        return (self.state.steps - 1) % self.params.eval_every == 0

    def evaluate(self) -> None:
        """Add a row to the curve: the loss over the first batches of both splits.

        Where the row decides what is kept or when to stop, the validation loss is that of `measure_losses`: a choice by
        a few batches would be a choice by chance.
        """
        self.throughput.pause()
        self.guard.check()
        state, params = self.state, self.params
        # The book does not evaluate after the last step, so that evaluation must not change later random numbers.
        drawing = nullcontext() if self.is_scheduled() else forked_random(self.replica.device)
        with drawing, autocast(self.model, params.precision):
            train = batch_means(self.model, self.measure, self.batches.train, params.eval_batches)
            if params.keep == "best" or params.patience is not None:
                validation = target_means(self.model, self.measure, self.batches.validation, MEASURED_BATCHES)
            else:
                validation = batch_means(self.model, self.measure, self.batches.validation, params.eval_batches)
        train_loss, validation_loss = train.pop("loss"), validation.pop("loss")
        self.guard.require("evaluated loss", train_loss + validation_loss, state.steps - 1, self.learning_rate)
        row = Evaluation(
            step=state.steps - 1,
            epoch=state.steps * params.epochs / self.total_steps,
            examples_seen=state.steps * params.batch_size,
            tokens_seen=state.tokens_seen,
            learning_rate=self.learning_rate,
            train_loss=train_loss,
            validation_loss=validation_loss,
            measures={
                f"{split}_{name}": value
                for split, means in (("train", train), ("validation", validation))
                for name, value in means.items()
            },
        )
        state.curve.append(row)
        if params.keep == "best" and best_of(state.curve) is row:
            state.best_weights = copy_weights(self.model)

    def keep(self) -> None:
        """Save a snapshot if one is due, and stop if that was requested."""
        if self.snapshots:
            # The end is saved too, since what follows takes time.
            self.snapshots.keep(self.contents, self.position(), self.has_ended())
        elif requested():
            raise KeyboardInterrupt

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the contents of a snapshot; raise InputError if a weight is not finite."""
        self.throughput.pause()
        self.guard.check_weights(self.weights, self.state.steps - 1, self.learning_rate)
        return state_tensors(self.model, self.optimizer, self.state), self.state.notes()

    def finish(self) -> None:
        """Give the model, and the optimizer that was given, the last state, or the weights that are to be kept."""
        if self.params.keep == "best":
            put_weights(self.model, self.state.best_weights)
        if self.given_optimizer is not None and self.given_optimizer is not self.optimizer:
            state = {name: whole_in_first(value) for name, value in state_of(self.model, self.optimizer).items()}
            if is_first():  # before the given model leaves the CPU: its optimizer's state stays there
                set_state(self.replica.given, self.given_optimizer, state)
        self.replica.fetch()

    def position(self) -> str:
        return f"step {self.state.steps} of {self.total_steps}"

    def console_line(self) -> str:
        """Return the last row of the curve as text, with this process's speed and the remaining time."""
        row, state = self.state.curve[-1], self.state
        return (
            f"step {row.step:5d} {100 * state.steps / self.total_steps:3.0f} %  train {row.train_loss:.3f}  "
            f"val {row.validation_loss:.3f}  lr {row.learning_rate:.1e}  {self.throughput}  "
            f"{(self.total_steps - state.steps) * self.throughput.step_s:.0f} s left"
        )
