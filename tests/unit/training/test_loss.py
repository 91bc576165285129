"""The next-token loss computes logits only where a target counts, and is the book's all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scratchlm.classifier.classifier import Classifier, label_loss
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.training.loss import IGNORED, Batch, next_token_loss


def tiny_model(tie_embeddings: bool = True, drop_rate: float = 0.1) -> GPT:
    torch.manual_seed(0)
    return new_model(GPTConfig(3000, 16, 32, 2, 2, drop_rate, tie_embeddings=tie_embeddings), "gpt2").train()


def batch(ignored: float) -> Batch:
    """Return a batch [4, 12] of which about so many targets are ignored."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3000, (4, 13), generator=generator)
    return ids[:, :-1], ids[:, 1:].masked_fill(torch.rand(4, 12, generator=generator) < ignored, IGNORED)


def book_loss(model: GPT, batch: Batch) -> Tensor:
    inputs_BT, targets_BT = batch
    return F.cross_entropy(model(inputs_BT).flatten(0, 1), targets_BT.flatten(), reduction="sum")


def loss_and_gradients(loss: Callable[[Any, Batch], Tensor], ignored: float, tied: bool) -> list[Tensor]:
    model = tiny_model(tied)
    torch.manual_seed(2)  # of dropout
    value = loss(model, batch(ignored))
    value.backward()  # type: ignore[no-untyped-call]
    return [value.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("tied", [True, False])
def test_where_all_targets_count_every_bit_is_the_books(tied: bool) -> None:
    for ours, book in zip(
        loss_and_gradients(next_token_loss, 0.0, tied), loss_and_gradients(book_loss, 0.0, tied), strict=True
    ):
        assert torch.equal(ours, book)


@pytest.mark.parametrize("tied", [True, False])
def test_ignored_targets_change_neither_loss_nor_gradients(tied: bool) -> None:
    for ours, book in zip(
        loss_and_gradients(next_token_loss, 0.7, tied), loss_and_gradients(book_loss, 0.7, tied), strict=True
    ):
        assert torch.allclose(ours, book, rtol=1e-5, atol=1e-5)


def test_only_positions_whose_target_counts_get_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shapes = tiny_model(), []
    head = model.head
    monkeypatch.setattr(model, "head", lambda x: shapes.append(tuple(x.shape)) or head(x))
    inputs, targets = batch(0.7)
    next_token_loss(model, (inputs, targets))
    n_counted = int((targets != IGNORED).sum())
    assert 5 < n_counted < 25 and shapes == [(n_counted, 32)]


def test_a_batch_without_a_target_has_no_loss_and_no_gradient() -> None:
    value, *gradients = loss_and_gradients(next_token_loss, 1.1, True)
    assert value == 0 and not any(gradient.any() for gradient in gradients)


def test_no_loss_waits_for_the_device() -> None:
    """On the meta device nothing can be read, so whatever waits for a value fails there."""
    model = tiny_model()
    classifier = Classifier(tiny_model(), 3)
    labels = torch.tensor([0, 2, 1, 0])
    inputs, _ = batch(0.0)
    assert next_token_loss(model.to("meta"), batch(0.7)).device.type == "meta"
    assert label_loss(classifier.to("meta"), (inputs, labels)).device.type == "meta"
