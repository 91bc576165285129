"""Training a language model as a stage reports it: the losses before and after, and the curve between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchlm.model.language_model import LanguageModel
from scratchlm.params.schema import TrainingParams
from scratchlm.stage.device import autocast
from scratchlm.stage.processes import leave
from scratchlm.stage.snapshots import Snapshots, open_snapshots
from scratchlm.stage.tables import write_table
from scratchlm.training.best import training_metrics
from scratchlm.training.curve import language_rows
from scratchlm.training.frozen import with_stored_features
from scratchlm.training.loaders import Loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss, perplexity
from scratchlm.training.machine import check_machine
from scratchlm.training.measuring import Losses, measure_losses
from scratchlm.training.state import TrainingState


@dataclass(frozen=True)
class Fit:
    """The result of a training; losses are nats per target, as `measure_losses` returns them."""

    initial: Losses
    final: Losses
    state: TrainingState
    snapshots: Snapshots  # call its `finish` once the results are written

    def losses(self) -> dict[str, float]:
        """Return the four losses and the last perplexity under their names in the metrics."""
        before = {f"initial_{split}_loss": value for split, value in self.initial._asdict().items()}
        after = {f"{split}_loss": value for split, value in self.final._asdict().items()}
        return {**before, **after, "validation_perplexity": perplexity(self.final.validation)}

    def training(self) -> dict[str, float]:
        """Return the length of the training and its best evaluation under their names in the metrics."""
        return training_metrics(self.state, *self.final)

    def __str__(self) -> str:
        return f"validation loss {self.initial.validation:.3f} -> {self.final.validation:.3f}"


def fit(
    stage: str,
    model: LanguageModel,
    batches: Loaders,
    params: TrainingParams,
    seed: int,
    curve: Path,
    *,
    texts: Iterable[Tensor] = (),
    after_epoch: Callable[[int], Any] = lambda epoch: None,
    show: Callable[[list[Any]], Any] = lambda notes: None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Fit:
    """Measure a language model, train it as `train` does, and measure it again.

    The table `curve` is written at each evaluation, and `show` gets all that `after_epoch` has returned so far: both
    can be looked at while it trains. `texts` are those of the batches, each ids [T] int64: what the model's frozen
    blocks make of them is computed once. `seed` is used for measuring; training draws from torch's global generator as
    it is. A resumed run does not measure the initial losses again.

    Of several processes that share all this, the first returns the result and the others leave.
    """

    def report(state: TrainingState) -> None:
        write_table(curve, language_rows(state.curve))
        show(state.epoch_notes)

    def measure() -> Losses:
        with autocast(model, params.precision):
            return measure_losses(trained, next_token_loss, batches, seed)

    check_machine(stage, params.batch_size)
    snapshots = open_snapshots(stage, model.device)
    with autocast(model, params.precision):
        trained = with_stored_features(model, texts, snapshots)
    initial = snapshots.once("initial", measure)
    state = train(
        trained,
        loss=next_token_loss,
        batches=batches,
        params=params,
        name=stage,
        after_epoch=after_epoch,
        report=report,
        snapshots=snapshots,
        optimizer=optimizer,
    )
    final = measure()
    leave()
    return Fit(Losses(*initial), final, state, snapshots)
