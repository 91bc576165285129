"""A training that was interrupted at any step and resumed ends with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset
from training_settings import training_settings

from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_gpt
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.loop import loaders, train
from scratchlm.training.loss import next_token_loss
from scratchlm.training.state import TrainingState, restore, state_tensors

CONFIG = GPTConfig(vocab_size=40, context_length=8, emb_dim=16, n_heads=2, n_layers=2, drop_rate=0.1)
SETTINGS = training_settings(schedule="cosine", warmup_steps=3, gradient_clip=1.0, eval_every=3)
STEPS = 15  # 3 epochs of 5 batches


@pytest.fixture(autouse=True)
def no_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", False)


def run(folder: Path, stop_after: int | None, monkeypatch: pytest.MonkeyPatch, frozen: bool = False) -> Any:
    """Train or resume, with a stop requested after so many steps of this call; return the result so far."""
    torch.manual_seed(0)
    model = new_gpt(CONFIG, "gpt2")
    if frozen:
        model.requires_grad_(False)
        model.ln_f.requires_grad_(True)
    ids = torch.randint(CONFIG.vocab_size, (22, 9), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return stop_after is not None and calls >= stop_after

    monkeypatch.setattr("scratchlm.stage.snapshots.requested", stop)
    torch.manual_seed(123)
    batches = loaders(data, TensorDataset(*data[:6]), 4)
    note = lambda epoch: [epoch, float(torch.rand(1))]  # noqa: E731
    try:
        done = train(
            model,
            loss=next_token_loss,
            batches=batches,
            params=SETTINGS,
            name="test",
            after_epoch=note,
            snapshots=Snapshots(folder),
        )
    except Interrupted:
        return None
    return model, done, torch.rand(2)


def same(first: tuple[GPT, TrainingState, Any], second: tuple[GPT, TrainingState, Any]) -> None:
    for name, parameter in first[0].named_parameters():
        assert torch.equal(parameter, second[0].get_parameter(name)), name
    assert first[1].notes() == second[1].notes()
    assert torch.equal(first[2], second[2])


@pytest.mark.parametrize("stop_after", range(1, STEPS))
def test_a_training_stopped_after_any_step_ends_with_the_same_bits(
    stop_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path / "run", stop_after, monkeypatch) is None
    resumed = run(tmp_path / "run", None, monkeypatch)
    same(resumed, run(tmp_path / "whole", None, monkeypatch))
    assert resumed[1].steps == STEPS


def test_a_training_stopped_after_every_single_step_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = 0
    while (resumed := run(tmp_path / "run", 1, monkeypatch)) is None:
        stops += 1
        assert stops <= STEPS
    assert stops == STEPS
    same(resumed, run(tmp_path / "whole", None, monkeypatch))


def test_frozen_parameters_are_not_saved_and_trained_ones_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path / "run", 7, monkeypatch, frozen=True) is None
    tensors, _ = Snapshots(tmp_path / "run").load() or ({}, {})
    assert {name for name in tensors if name.startswith("model.")} == {"model.ln_f.weight", "model.ln_f.bias"}
    same(run(tmp_path / "run", None, monkeypatch, True), run(tmp_path / "whole", None, monkeypatch, True))


def test_without_the_moments_the_result_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path / "run", 7, monkeypatch) is None
    snapshots = Snapshots(tmp_path / "run")
    tensors, notes = snapshots.load() or ({}, {})
    snapshots.save({name: tensor for name, tensor in tensors.items() if "exp_avg" not in name}, notes)
    snapshots.lock.release()
    with pytest.raises(Exception):  # noqa: B017
        same(run(tmp_path / "run", None, monkeypatch), run(tmp_path / "whole", None, monkeypatch))


def test_the_state_of_another_model_is_refused_and_changes_nothing() -> None:
    model, other = new_gpt(CONFIG, "gpt2"), new_gpt(GPTConfig(40, 12, 16, 2, 2), "gpt2")
    optimizers = [torch.optim.AdamW(each.parameters()) for each in (model, other)]
    state = TrainingState()
    before = other.wpe.weight.detach().clone()
    with pytest.raises(InputError, match=r"another model: model.wpe.weight \(1 tensors\) differ"):
        restore(other, optimizers[1], state_tensors(model, optimizers[0], state), state.notes())
    assert torch.equal(other.wpe.weight, before)
