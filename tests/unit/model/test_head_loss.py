"""The loss in parts is the loss of all logits, with the same gradients, and never has all logits in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from scratchlm.model import head_loss
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.head_loss import loss_in_parts, loss_of_part, losses_in_parts, rows_at_once
from scratchlm.model.init import new_model
from scratchlm.model.lora import add_lora

D, V, ROWS = 24, 103, 16
TOLERANCE = 1e-6  # of float32, relative to the largest value
DEVICES = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)


@pytest.fixture(autouse=True)
def few_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_loss, "LOGITS_AT_ONCE", (ROWS + 3) * V)
    assert rows_at_once(V) == ROWS


def hidden_weight_targets(n: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(n)
    x_ND, weight_VD = torch.randn(n, D, generator=generator), torch.randn(V, D, generator=generator) / 3
    targets_N = torch.randint(V, (n,), generator=generator).to(device)
    return *(each.to(device, dtype).requires_grad_() for each in (x_ND, weight_VD)), targets_N


def of_all_logits(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x_ND, weight_VD), targets_N, reduction="sum")


def in_parts(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    return loss_in_parts(x_ND, weight_VD, targets_N, loss_of_part)


def weighed(losses_N: Tensor) -> Tensor:
    """The sum of losses that count between -1 and 2."""
    return (losses_N * torch.linspace(-1, 2, len(losses_N), device=losses_N.device)).sum()


def weighed_of_all_logits(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    return weighed(F.cross_entropy(F.linear(x_ND, weight_VD).float(), targets_N, reduction="none"))


def weighed_in_parts(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    return weighed(losses_in_parts(x_ND, targets_N, lambda x_nD: F.linear(x_nD, weight_VD), V))


def loss_and_gradients(loss: Any, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    x_ND, weight_VD, _ = tensors
    value = loss(*tensors)
    return [value.detach(), *torch.autograd.grad(value / 7, (x_ND, weight_VD))]


def largest_difference(ours: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-9)) for a, b in zip(ours, wanted, strict=True))


BOTH = pytest.mark.parametrize(
    "losses", [(in_parts, of_all_logits), (weighed_in_parts, weighed_of_all_logits)], ids=["sum", "each"]
)


def distance(ours: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, wanted, strict=True))


@DEVICES
@BOTH
@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS, 3 * ROWS + 5])
def test_the_loss_in_parts_has_the_loss_and_the_gradients_of_all_logits(n: int, losses: Any, device: str) -> None:
    tensors = hidden_weight_targets(n, device)
    ours, wanted = (loss_and_gradients(loss, tensors) for loss in losses)
    assert largest_difference(ours, wanted) < TOLERANCE
    assert [each.dtype for each in ours] == [torch.float32] * 3


@DEVICES
@BOTH
def test_under_autocast_it_is_as_exact_as_the_loss_of_all_logits(losses: Any, device: str) -> None:
    tensors = hidden_weight_targets(50, device)
    exact = loss_and_gradients(losses[1], tensors)
    with torch.autocast(device, torch.bfloat16):
        ours, usual = (loss_and_gradients(loss, tensors) for loss in losses)
    assert 1e-4 < largest_difference(ours, exact) < 0.01  # bfloat16 has 8 bits
    assert distance(ours, exact) < 1.2 * distance(usual, exact)
    assert [each.dtype for each in ours] == [torch.float32] * 3


def test_float64_stays_float64() -> None:
    tensors = hidden_weight_targets(50, dtype=torch.float64)
    ours, wanted = (loss_and_gradients(loss, tensors) for loss in (in_parts, of_all_logits))
    assert largest_difference(ours, wanted) < 1e-14


def test_rows_that_fill_up_the_weight_change_nothing() -> None:
    x_ND, weight_VD, targets_N = (each.detach() for each in hidden_weight_targets(9))
    # 100: as logits they would be the largest.
    filled_PD = torch.cat([weight_VD, 100 * torch.ones(25, D)])
    ours = loss_of_part(x_ND, filled_PD, targets_N, V, True, True)
    wanted = loss_of_part(x_ND, weight_VD, targets_N, V, True, True)
    assert ours.x_nD is not None and ours.weight_PD is not None
    assert wanted.x_nD is not None and wanted.weight_PD is not None
    found = [ours.loss, ours.x_nD, ours.weight_PD[:V]]
    assert largest_difference(found, [wanted.loss, wanted.x_nD, wanted.weight_PD]) < TOLERANCE
    assert not ours.weight_PD[V:].any()


@BOTH
def test_a_loss_without_targets_is_0_and_has_gradients_of_0(losses: Any) -> None:
    loss, *gradients = loss_and_gradients(losses[0], hidden_weight_targets(0))
    assert loss == 0 and gradients[1].shape == (V, D) and not gradients[1].any()


def test_a_frozen_weight_gets_no_gradient_and_evaluation_computes_none() -> None:
    x_ND, weight_VD, targets_N = hidden_weight_targets(40)
    computed = []

    def noted(*arguments: Any) -> head_loss.PartLoss:
        computed.append(loss_of_part(*arguments))
        return computed[-1]

    loss_in_parts(x_ND, weight_VD.detach(), targets_N, noted).backward()  # type: ignore[no-untyped-call]
    assert x_ND.grad is not None and all(part.weight_PD is None for part in computed)
    with torch.no_grad():
        computed.clear()
        assert not loss_in_parts(x_ND, weight_VD, targets_N, noted).requires_grad
    assert [part[1:] for part in computed] == [(None, None)] * 3


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            self.largest = max(self.largest, each.numel() if isinstance(each, Tensor) else 0)
        return made


@BOTH
def test_the_logits_of_all_targets_are_never_in_memory(losses: Any) -> None:
    tensors = hidden_weight_targets(20 * ROWS)
    sizes = []
    for loss in losses:
        with LargestTensor() as made:
            loss_and_gradients(loss, tensors)
        sizes.append(made.largest)
    assert sizes == [20 * ROWS * D, 20 * ROWS * V]  # the largest of ours are the hidden states


def tiny_model(tied: bool) -> GPT:
    torch.manual_seed(0)
    return new_model(GPTConfig(V, 64, 32, 2, 2, tie_embeddings=tied), "gpt2", 0.1)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_computes_the_loss_of_chosen_positions(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    ids, chosen = torch.randint(V, (3, 30), generator=generator), torch.arange(0, 90, 2)
    targets = torch.randint(V, (45,), generator=generator)
    found = []
    for at_once in (V * ROWS, V * 1000):
        monkeypatch.setattr(head_loss, "LOGITS_AT_ONCE", at_once)
        model = tiny_model(tied)
        loss = model(ids, chosen, targets_N=targets)
        loss.backward()
        found.append([loss.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    assert torch.equal(found[1][0], F.cross_entropy(model(ids, chosen), targets, reduction="sum"))
    assert largest_difference(found[0], found[1]) < 3 * TOLERANCE


def test_a_head_with_lora_is_trained_by_its_loss() -> None:
    model = tiny_model(tied=False)
    add_lora(model, [model.lm_head], 4, 1.0)
    lora = model.lm_head.lora
    assert lora is not None
    torch.nn.init.normal_(lora.B)
    x_ND, targets_N = torch.randn(3 * ROWS + 2, 32, requires_grad=True), torch.randint(V, (3 * ROWS + 2,))
    trained = (x_ND, lora.A, lora.B)
    with LargestTensor() as made:
        loss = model.head_loss(x_ND, targets_N)
        ours = [loss.detach(), *torch.autograd.grad(loss, trained)]
    assert made.largest <= V * 32  # the logits of all are more
    loss = F.cross_entropy(model.head(x_ND), targets_N, reduction="sum")
    assert largest_difference(ours, [loss.detach(), *torch.autograd.grad(loss, trained)]) < 3 * TOLERANCE
