"""A training that starts with the weights and the optimizer's state of another goes on as if it had never ended."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from training_settings import training_settings

from scratchlm.params.schema import TrainingParams
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import Batch
from scratchlm.training.optimizer import new_optimizer, state_of

INPUTS = torch.linspace(-1, 1, 12).reshape(4, 3)
BATCH = INPUTS, INPUTS.sum(dim=1, keepdim=True)


def settings(epochs: int, learning_rate: float = 0.01, weight_decay: float = 0.1) -> TrainingParams:
    return training_settings(
        epochs=epochs, learning_rate=learning_rate, weight_decay=weight_decay, eval_every=100, eval_batches=1
    )


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    model[2].bias.requires_grad_(False)
    return model


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return ((model(inputs) - targets) ** 2).sum()


def trained(
    model: nn.Module, params: TrainingParams, state: dict[str, Tensor] | None = None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Train on one batch per epoch, and return the optimizer's state too."""
    data = TensorDataset(*BATCH)
    optimizer = new_optimizer(model, params, state)
    torch.manual_seed(1)
    train(model, loss=squared_error, batches=loaders(data, data, 4), params=params, name="test", optimizer=optimizer)
    return model, state_of(model, optimizer)


def largest_difference(ours: nn.Module, theirs: nn.Module) -> float:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max(float((a - b).abs().max().detach()) for a, b in pairs)


def test_two_trainings_of_three_epochs_with_the_state_kept_are_one_of_six() -> None:
    whole, whole_state = trained(tiny_model(), settings(6))
    half, state = trained(tiny_model(), settings(3))
    continued, continued_state = trained(half, settings(3), state)
    # The rows of the one batch come in another order, which rounds differently.
    assert largest_difference(continued, whole) < 1e-6
    assert continued_state.keys() == whole_state.keys()
    assert {float(value) for name, value in continued_state.items() if name.endswith("step")} == {6.0}


def test_with_a_fresh_state_the_result_is_another() -> None:
    whole, _ = trained(tiny_model(), settings(6))
    half, _ = trained(tiny_model(), settings(3))
    assert largest_difference(trained(half, settings(3))[0], whole) > 1e-4


def test_the_state_has_what_adamw_keeps_of_each_trained_parameter() -> None:
    model, state = trained(tiny_model(), settings(1))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    del shapes["2.bias"]  # frozen
    expected = {f"{name}.{key}": shape for name, shape in shapes.items() for key in ("exp_avg", "exp_avg_sq")}
    expected |= {f"{name}.step": torch.Size() for name in shapes}
    assert {name: value.shape for name, value in state.items()} == expected


def test_the_learning_rate_and_the_weight_decay_are_those_of_the_new_training() -> None:
    model, state = trained(tiny_model(), settings(3))
    expected = copy.deepcopy(model)
    weights = [parameter for parameter in expected.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.05, weight_decay=0.4)
    for name, weight in expected.named_parameters():
        if weight.requires_grad:
            kept = {key: state[f"{name}.{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = kept
    (squared_error(expected, BATCH) / 4).backward()
    optimizer.step()
    trained(model, settings(1, learning_rate=0.05, weight_decay=0.4), state)
    assert largest_difference(model, expected) < 1e-6


def test_an_optimizer_has_no_state_before_its_first_step() -> None:
    model = tiny_model()
    assert state_of(model, new_optimizer(model, settings(1))) == {}


def test_a_state_of_another_model_is_a_defect() -> None:
    _, state = trained(tiny_model(), settings(1))
    with pytest.raises(KeyError):
        new_optimizer(nn.Linear(3, 1), settings(1), state)
