"""Tokens with which all texts of a batch begin go through the model once, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scratchlm.assistant import dpo
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.training import loss
from scratchlm.training.loss import FEWEST_SHARED, IGNORED, Batch, next_token_loss, shared_start

N_SHARED = FEWEST_SHARED + 3
CONFIGS = {
    "gpt2": GPTConfig(300, 40, 32, 4, 3),
    "llama": LlamaConfig(300, 40, 32, 4, 3, n_kv_heads=2, hidden_dim=50, rope_base=1e4),
}


def batch(n_shared: int = N_SHARED) -> Batch:
    """Return a batch of which some rows begin alike for longer than all do, and whose targets begin at other places."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(300, (6, 31), generator=generator)
    ids[:, :n_shared] = ids[0, :n_shared]
    ids[3:5, : n_shared + 4] = ids[3, : n_shared + 4]
    ids[:, n_shared] = torch.arange(6)
    targets = torch.randint(300, (6, 31), generator=generator)
    targets[:, : n_shared + 1] = IGNORED
    targets[2, :20] = IGNORED
    targets[1, 25:] = IGNORED
    return ids, targets


def rows_of_first_block(model: LanguageModel) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    model.h[0].register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[:2])))
    return shapes


def loss_and_gradients(config: ModelConfig, of: Callable[[Any, Batch], Tensor], given: Batch) -> list[Tensor]:
    torch.manual_seed(0)
    model = new_model(config, "gpt2", 0.2)
    value = of(model, given)
    value.backward()  # type: ignore[no-untyped-call]
    return [value.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


def pair_loss(model: LanguageModel, given: Batch) -> Tensor:
    inputs, targets = (part.view(3, 2, -1) for part in given)
    return dpo.preference_measure(0.1, mean=False)(model, (inputs, targets, torch.zeros(3, 2)))["loss"]


@pytest.mark.parametrize("of", [next_token_loss, pair_loss])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_neither_loss_nor_gradients_change(
    architecture: str, of: Callable[[Any, Batch], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = loss_and_gradients(CONFIGS[architecture], of, batch())
    monkeypatch.setattr(loss, "FEWEST_SHARED", 99)
    each = loss_and_gradients(CONFIGS[architecture], of, batch())
    assert len(once) == len(each) > 20
    for ours, theirs in zip(once, each, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("of", [next_token_loss, pair_loss])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_start_is_one_text(architecture: str, of: Callable[[Any, Batch], Tensor]) -> None:
    model = new_model(CONFIGS[architecture], "gpt2")
    shapes = rows_of_first_block(model)
    of(model, batch())
    assert shapes == [(1, N_SHARED), (6, 31 - N_SHARED)]


def test_with_dropout_every_text_has_a_start_of_its_own() -> None:
    model = new_model(GPTConfig(300, 40, 32, 4, 1, drop_rate=0.1), "gpt2")
    shapes = rows_of_first_block(model)
    next_token_loss(model.train(), batch())
    next_token_loss(model.eval(), batch())
    assert shapes == [(6, 31), (1, N_SHARED), (6, 31 - N_SHARED)]


def test_a_start_ends_before_the_first_target_that_counts_and_before_the_last_token() -> None:
    inputs, targets = batch()
    assert shared_start(inputs, targets) == N_SHARED
    targets[4, N_SHARED - 2] = 7
    assert shared_start(inputs, targets) == N_SHARED - 2
    alike = inputs[:1].expand(6, -1)
    assert shared_start(alike, torch.full_like(alike, IGNORED)) == 0


def test_few_tokens_or_a_single_text_are_not_worth_it() -> None:
    assert shared_start(*batch(FEWEST_SHARED)) == FEWEST_SHARED
    assert shared_start(*batch(FEWEST_SHARED - 1)) == 0
    inputs, targets = batch()
    assert shared_start(inputs[:1], targets[:1]) == 0
