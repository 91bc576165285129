"""The training of a language model as a stage reports it: its losses before and after, and the curve between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from scratchlm.params.schema import TrainingParams
from scratchlm.stage.snapshots import Snapshots, open_snapshots
from scratchlm.training.loop import Loaders, Losses, measure_losses, train
from scratchlm.training.loss import next_token_loss
from scratchlm.training.state import TrainingState


@dataclass(frozen=True)
class Fit:
    """What a training did; the losses are means over whole splits (200 batches of a larger one), in nats."""

    initial: Losses
    final: Losses
    state: TrainingState
    snapshots: Snapshots  # to be finished once the results are written

    def losses(self) -> dict[str, float]:
        """Return the four losses by their names in a stage's metrics."""
        before = {f"initial_{split}_loss": value for split, value in self.initial._asdict().items()}
        return {**before, **{f"{split}_loss": value for split, value in self.final._asdict().items()}}

    def length(self) -> dict[str, int]:
        """Return how long the training was, by the names in a stage's metrics."""
        return {"steps": self.state.steps, "tokens_seen": self.state.tokens_seen}

    def __str__(self) -> str:
        return f"validation loss {self.initial.validation:.3f} -> {self.final.validation:.3f}"


def fit(
    stage: str,
    model: nn.Module,
    batches: Loaders,
    *,
    params: TrainingParams,
    seed: int,
    after_epoch: Callable[[int], Any] = lambda epoch: None,
) -> Fit:
    """Measure a language model, train it as `train` does, and measure it again.

    `seed` is that of measuring; the training draws from torch's generator as it finds it. A run that goes on where it
    stopped does not measure the start again.
    """
    snapshots = open_snapshots(stage, next(model.parameters()).device)
    initial = snapshots.once("initial", lambda: measure_losses(model, next_token_loss, batches, seed))
    state = train(
        model,
        loss=next_token_loss,
        batches=batches,
        params=params,
        name=stage,
        after_epoch=after_epoch,
        snapshots=snapshots,
    )
    return Fit(Losses(*initial), measure_losses(model, next_token_loss, batches, seed), state, snapshots)
