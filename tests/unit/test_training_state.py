"""A training that was put aside and taken up again ends as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from scratchlm.errors import InputError
from scratchlm.model import GPT, GPTConfig, new_gpt
from scratchlm.training_state import load_training, save_training

CONFIG = GPTConfig(vocab_size=40, context_length=8, emb_dim=16, n_heads=2, n_layers=2, drop_rate=0.1)


def start(config: GPTConfig = CONFIG) -> tuple[GPT, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = new_gpt(config, "gpt2").train()
    return model, torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, fused=True)


def steps(model: GPT, optimizer: torch.optim.Optimizer, n: int) -> None:
    for _ in range(n):
        ids = torch.randint(CONFIG.vocab_size, (4, 9))
        optimizer.zero_grad()
        logits = model(ids[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    uninterrupted, optimizer = start()
    steps(uninterrupted, optimizer, 6)
    drawn = torch.rand(3)

    model, optimizer = start()
    steps(model, optimizer, 3)
    save_training(tmp_path / "state.safetensors", model, optimizer)
    resumed, optimizer = start()
    load_training(tmp_path / "state.safetensors", resumed, optimizer)
    steps(resumed, optimizer, 3)
    for name, parameter in uninterrupted.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    assert torch.equal(torch.rand(3), drawn)


def test_without_the_moments_the_end_would_be_another(tmp_path: Path) -> None:
    model, optimizer = start()
    steps(model, optimizer, 3)
    save_training(tmp_path / "state.safetensors", model, optimizer)
    ends = []
    for keep_moments in (True, False):
        resumed, optimizer = start()
        load_training(tmp_path / "state.safetensors", resumed, optimizer)
        if not keep_moments:
            optimizer.state.clear()
        steps(resumed, optimizer, 3)
        ends.append(resumed.wte.weight.detach().clone())
    assert not torch.equal(*ends)


def test_frozen_parameters_have_no_moments_to_keep(tmp_path: Path) -> None:
    model, _ = start()
    model.requires_grad_(False)
    model.ln_f.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.ln_f.parameters(), lr=0.01, fused=True)
    steps(model, optimizer, 1)
    save_training(tmp_path / "state.safetensors", model, optimizer)
    load_training(tmp_path / "state.safetensors", model, optimizer)
    assert set(optimizer.state) == set(model.ln_f.parameters())


def test_the_state_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    model, optimizer = start()
    save_training(tmp_path / "state.safetensors", model, optimizer)
    other, optimizer = start(GPTConfig(40, 12, 16, 2, 2))
    before = other.wpe.weight.detach().clone()
    with pytest.raises(InputError, match=r"another model: model.wpe.weight \(1 tensors\) differ"):
        load_training(tmp_path / "state.safetensors", other, optimizer)
    assert torch.equal(other.wpe.weight, before)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\x80\x04pickle"])
def test_a_damaged_or_missing_state_is_one_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"start the training anew|no training to take up"):
        load_training(path, *start())
