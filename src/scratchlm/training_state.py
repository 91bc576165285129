"""A training that can be put aside and taken up again: model, optimizer and random numbers in one file (chapter 5.4).

The file is safetensors: `model.NAME`, `optimizer.NAME.KEY` for each parameter's AdamW moments and step count, and
the state of torch's generator. The learning rate is no state: it follows from the step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scratchlm.checkpoint import save_tensors
from scratchlm.errors import InputError
from scratchlm.files import atomic_path

GENERATOR = "generator"


def save_training(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a training after a step; raise InputError if the disk does not take it."""
    with atomic_path(path) as temporary:
        save_tensors(temporary, {**_tensors(model, optimizer), GENERATOR: torch.get_rng_state()})


def load_training(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put `model`, `optimizer` and torch's generator into the saved state, so that the next step is the next.

    Both must have been built as they were before the first step. Raises InputError if the file is damaged or of
    another model.
    """
    try:
        stored = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: there is no training to take up") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no readable training state ({error}): start the training anew") from None
    wanted = {f"model.{name}": tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in stored.items() if name.startswith("model.")}
    if GENERATOR not in stored or found != wanted:
        differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise InputError(
            f"{path} is the training state of another model: {', '.join(differing[:3]) or GENERATOR} "
            f"({len(differing)} tensors) differ; use the params it was saved with, or start the training anew"
        )
    model.load_state_dict({name.removeprefix("model."): stored[name] for name in found})
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        moments = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        if moments:
            # The fused AdamW counts its steps where the parameter lives.
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    torch.set_rng_state(stored[GENERATOR])


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    return tensors
