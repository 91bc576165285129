"""AdamW, the optimizer of all trainings (chapter 5.2), and its state under the names of the parameters (chapter 5.4).

Of every parameter AdamW keeps `exp_avg` and `exp_avg_sq`, the means of its gradient and of the square of that, and
`step`, the number of its updates, with which it corrects the two means.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scratchlm.params.schema import TrainingParams
from scratchlm.training.parallel import placed_like


def new_optimizer(
    model: nn.Module, params: TrainingParams, state: Mapping[str, Tensor] | None = None
) -> torch.optim.Optimizer:
    """Return an AdamW of the parameters of `model` that require a gradient, which goes on from a state if there is one.

    The learning rate and the weight decay are those of `params`, whatever the training that the state is from had.
    """
    weights = [parameter for _, parameter in trained_parameters(model)]
    optimizer = torch.optim.AdamW(weights, lr=params.learning_rate, weight_decay=params.weight_decay, fused=True)
    if state is not None:
        set_state(model, optimizer, state)
    return optimizer


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer keeps of every parameter of `model`, as NAME.KEY -> tensor; empty before a step."""
    return {
        f"{name}.{key}": value
        for name, parameter in trained_parameters(model)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def set_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Give an optimizer, without copies, what `state_of` returned for a model with the same parameters."""
    parameters = dict(trained_parameters(model))
    for name_and_key, value in state.items():
        name, _, key = name_and_key.rpartition(".")
        # The fused AdamW keeps its step count on the device of the parameter.
        optimizer.state[parameters[name]][key] = placed_like(parameters[name], value)


def trained_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that require a gradient, with their names."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def n_trained_parameters(model: nn.Module) -> int:
    """Count the parameters that require a gradient."""
    return sum(parameter.numel() for _, parameter in trained_parameters(model))
