"""The state of a training, to save it and resume it: model, optimizer, random numbers and position (chapter 5.4).

Tensors: `model.NAME` for trained parameters, `best.NAME` for those of the best evaluation where they are to be kept,
`optimizer.NAME.KEY` for AdamW's moments and step counts, and the states of torch's generators. The rest is a few
numbers. The learning rate is not saved: it follows from the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from scratchlm.errors import InputError
from scratchlm.training.loaders import Batches
from scratchlm.training.optimizer import set_state, state_of, trained_parameters
from scratchlm.training.parallel import placed_like, whole_in_first

MODEL, BEST, OPTIMIZER = "model.", "best.", "optimizer."  # prefixes of the tensors' names
GENERATOR, EPOCH_GENERATOR, DEVICE_GENERATOR = "generator", "generator_at_epoch", "generator_of_device"
BEST_WEIGHTS = "best_weights"


@dataclass(frozen=True)
class Evaluation:
    """One row of the curve; losses in nats, `tokens_seen` counts every input token, padding included."""

    step: int  # from 0
    epoch: float  # the steps done, as passes over the training set
    examples_seen: int
    tokens_seen: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    measures: dict[str, float] = field(default_factory=dict)  # what else was measured of both splits

    def columns(self) -> dict[str, Any]:
        """Return the row as a table has it, with a column for each of the measures."""
        columns = asdict(self)
        measures: dict[str, float] = columns.pop("measures")
        return {**columns, **measures}


@dataclass
class TrainingState:
    """Progress of a training: `steps` done in total, `batch` of them in this epoch (from 1), and its records."""

    epoch: int = 1
    batch: int = 0
    steps: int = 0
    tokens_seen: int = 0
    curve: list[Evaluation] = field(default_factory=list)
    epoch_notes: list[Any] = field(default_factory=list)  # what `after_epoch` returned; fits into JSON
    generator_at_epoch: Tensor = field(default_factory=torch.get_rng_state)
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # on the CPU; empty unless they are to be kept

    def notes(self) -> dict[str, Any]:
        """Return all fields but the tensors, in a form that fits into JSON."""
        fields = {key: value for key, value in vars(self).items() if key not in (EPOCH_GENERATOR, BEST_WEIGHTS)}
        return {**fields, "curve": [asdict(row) for row in self.curve]}

    def curve_rows(self) -> list[dict[str, Any]]:
        """Return one row per evaluation, for `write_table`."""
        return [row.columns() for row in self.curve]


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> dict[str, Tensor]:
    """Return every tensor that the next step depends on, by name; frozen parameters are left out.

    They are whole, however many processes share them, so that any number of processes can go on from there. They are
    no copies, except where they were shared: those are on the CPU of the first process, and empty in the others.
    """
    tensors = {GENERATOR: torch.get_rng_state(), EPOCH_GENERATOR: state.generator_at_epoch}
    tensors |= {f"{MODEL}{name}": whole_in_first(parameter.detach()) for name, parameter in trained_parameters(model)}
    tensors |= {f"{BEST}{name}": weight for name, weight in state.best_weights.items()}
    tensors |= {f"{OPTIMIZER}{name}": whole_in_first(value) for name, value in state_of(model, optimizer).items()}
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors[DEVICE_GENERATOR] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors[DEVICE_GENERATOR] = torch.mps.get_rng_state()
    return tensors


@torch.no_grad()
def restore(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
) -> TrainingState:
    """Restore `model`, `optimizer` and torch's generators from a saved state, and return the progress.

    Both must be built as before the first step. Raises InputError if the state belongs to another model.
    """
    wanted = {f"{MODEL}{name}": parameter.shape for name, parameter in trained_parameters(model)}
    found = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(MODEL)}
    if found != wanted:
        differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise InputError(
            f"the saved training is of another model: {', '.join(differing[:3])} ({len(differing)} tensors) differ; "
            "use the params it was saved with, or start again"
        )
    for name, parameter in trained_parameters(model):
        parameter.copy_(placed_like(parameter, tensors[f"{MODEL}{name}"]))
    saved = {name.removeprefix(OPTIMIZER): value for name, value in tensors.items() if name.startswith(OPTIMIZER)}
    set_state(model, optimizer, saved)
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors[DEVICE_GENERATOR], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(tensors[DEVICE_GENERATOR])
    torch.set_rng_state(tensors[GENERATOR])
    curve = [Evaluation(**row) for row in notes["curve"]]
    best = {name.removeprefix(BEST): tensor for name, tensor in tensors.items() if name.startswith(BEST)}
    held = {EPOCH_GENERATOR: tensors[EPOCH_GENERATOR], BEST_WEIGHTS: best}
    return TrainingState(**{**notes, "curve": curve, **held})


def remaining_batches(batches: DataLoader[Any], state: TrainingState) -> Iterator[Any]:
    """Iterate over the rest of an epoch's batches; they are the same as without an interruption."""
    if state.batch == 0:
        state.generator_at_epoch = torch.get_rng_state()
        return iter(batches)
    now = torch.get_rng_state()
    torch.set_rng_state(state.generator_at_epoch)
    assert isinstance(batches.batch_sampler, Batches)  # of our own loaders
    batches.batch_sampler.skipped = state.batch
    iterator = iter(batches)
    first = list(islice(iterator, 1))  # draws the same shuffle again
    torch.set_rng_state(now)
    return chain(first, iterator)
