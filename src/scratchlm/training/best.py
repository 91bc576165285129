"""The best evaluation of a training: it decides which weights are kept and when the training stops (chapter 6.7).

It follows from the curve, so a resumed training has nothing to remember but the weights themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from scratchlm.params.schema import TrainingParams
from scratchlm.training.optimizer import trained_parameters
from scratchlm.training.parallel import placed_like, whole
from scratchlm.training.state import Evaluation, TrainingState


def best_of(curve: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation with the lowest validation loss, the first one of several."""
    return min(curve, key=lambda row: row.validation_loss)


def is_out_of_patience(curve: Sequence[Evaluation], patience: int | None) -> bool:
    """True if as many evaluations as `patience` came after the best one; None waits for ever."""
    return patience is not None and bool(curve) and len(curve) - 1 - curve.index(best_of(curve)) >= patience


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copy the trained parameters to the CPU, where a large model has more room."""
    return {name: whole(parameter.detach()).to("cpu", copy=True) for name, parameter in trained_parameters(model)}


@torch.no_grad()
def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model the weights that `copy_weights` returned."""
    for name, parameter in trained_parameters(model):
        parameter.copy_(placed_like(parameter, weights[name]))


def describe_end(state: TrainingState, total_steps: int, params: TrainingParams) -> str:
    """Return in one line why a training stopped early and which weights it keeps; nothing if both is as usual."""
    best, words = best_of(state.curve), []
    if state.steps < total_steps:
        evaluations = "1 evaluation" if params.patience == 1 else f"{params.patience} evaluations"
        words.append(
            f"stopped after {state.steps:,} of {total_steps:,} steps: no lower validation loss in {evaluations}"
        )
    if params.keep == "best":
        words.append(f"keeping the weights of step {best.step}, validation loss {best.validation_loss:.3f}")
    elif words:
        words.append(f"keeping the last weights; the lowest validation loss was that of step {best.step}")
    return "; ".join(words)


def training_metrics(state: TrainingState, train_loss: float, validation_loss: float) -> dict[str, float]:
    """Return the length of a training and its best evaluation under their names in the metrics.

    The two losses are those of the kept weights, over whole splits; the gap between them shows how much a model
    knows its training set better than other data.
    """
    best = best_of(state.curve)
    return {
        "steps": state.steps,
        "tokens_seen": state.tokens_seen,
        "best_step": best.step,
        "best_validation_loss": best.validation_loss,
        "loss_gap": validation_loss - train_loss,
    }
