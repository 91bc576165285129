"""A model cut between two blocks gives what the whole one gives, and one position what all of them give there."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, EACH, config_of

from scratchlm.model.config import Architecture, AttentionKind
from scratchlm.model.cut import lower_part, n_frozen_blocks, upper_part
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel

N_LAYERS = 3
EXACT = {"atol": 1e-6, "rtol": 1e-6}


def tiny(architecture: Architecture, attention: AttentionKind = "sdpa", **options: bool) -> LanguageModel:
    torch.manual_seed(0)
    config = config_of(architecture, 40, 12, 16, 2, N_LAYERS, **options)
    return new_model(config, "gpt2", init_std=0.3, attention=attention).eval()


def ids() -> torch.Tensor:
    return torch.randint(40, (4, 9), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
@EACH
@pytest.mark.parametrize("n_blocks", range(N_LAYERS))
def test_both_parts_one_after_the_other_are_the_whole(n_blocks: int, architecture: Architecture) -> None:
    model = tiny(architecture)
    hidden = lower_part(model, ids(), n_blocks)
    assert torch.equal(upper_part(model, hidden, n_blocks), model.features(ids()))


MASKS = {
    "causal": None,
    "all": torch.ones(1, 1, 9, 9, dtype=torch.bool),
    "some": (torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None])[:, None, None],
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("n_blocks", [1, 2])
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        *(("gpt2", options) for options in ({"qkv_bias": False}, {"shortcuts": False})),
        *product(ARCHITECTURES, [{}, {"attention": "manual"}, {"attention": "per_head"}]),
    ],
    ids=str,
)
def test_one_position_has_the_features_and_gradients_that_it_has_among_all(
    mask: str, n_blocks: int, architecture: Architecture, options: dict[str, Any]
) -> None:
    model, position_B = tiny(architecture, **options), torch.tensor([8, 3, 0, 5])
    found = []
    for alone in (True, False):
        model.zero_grad()
        hidden = lower_part(model, ids(), n_blocks, MASKS[mask])
        if alone:
            features = upper_part(model, hidden, n_blocks, MASKS[mask], position_B)
        else:
            features = upper_part(model, hidden, n_blocks, MASKS[mask])[torch.arange(4), position_B]
        features.square().sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((features, gradients))
    (one, one_gradients), (all_, all_gradients) = found
    assert one.shape == (4, 16)
    torch.testing.assert_close(one, all_, **EXACT)
    assert one_gradients.keys() == all_gradients.keys()
    for name, gradient in one_gradients.items():
        torch.testing.assert_close(gradient, all_gradients[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("trained", "n_frozen"),
    [
        ([], N_LAYERS),
        (["ln_f"], N_LAYERS),
        (["h.2.ln_1"], 2),
        (["h.2", "ln_f"], 2),
        (["h.1.mlp.c_fc"], 1),
        (["h.0"], 0),
        (["wpe"], 0),
        (["wte", "h.2"], 0),
    ],
)
@EACH
def test_the_blocks_before_the_first_trained_part_are_frozen(
    trained: list[str], n_frozen: int, architecture: Architecture
) -> None:
    model = tiny(architecture).requires_grad_(False)
    if architecture == "llama":
        trained = [{"h.1.mlp.c_fc": "h.1.attn.k_proj", "wpe": "wte"}.get(name, name) for name in trained]
    for name in trained:
        model.get_submodule(name).requires_grad_(True)
    assert n_frozen_blocks(model) == n_frozen
