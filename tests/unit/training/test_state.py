"""A training that was interrupted at any step and resumed ends with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset
from training_settings import training_settings

from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.params.schema import TrainingParams
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss
from scratchlm.training.state import TrainingState, restore, state_tensors

CONFIG = GPTConfig(vocab_size=40, context_length=8, emb_dim=16, n_heads=2, n_layers=2, drop_rate=0.1)
SETTINGS = training_settings(schedule="cosine", warmup_steps=3, gradient_clip=1.0, eval_every=3)
STEPS = 15  # 3 epochs of 5 batches


@pytest.fixture(autouse=True)
def no_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", False)


def start() -> GPT:
    torch.manual_seed(0)
    return new_model(CONFIG, "gpt2")


def whole(model: GPT) -> None:
    """Leave all parameters to be trained."""


def last_norm(model: GPT) -> None:
    model.requires_grad_(False)
    model.ln_f.requires_grad_(True)


def lora(model: GPT) -> None:
    add_lora(model, [model.h, untied_head(model)], 4, 1.0)


def run(
    folder: Path,
    stop_after: int | None,
    monkeypatch: pytest.MonkeyPatch,
    choose_trained: Callable[[GPT], None] = whole,
    params: TrainingParams = SETTINGS,
) -> Any:
    """Train or resume, with a stop requested after so many steps of this call; return the result so far."""
    model = start()
    choose_trained(model)
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
            params=params,
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
    assert run(tmp_path / "run", 7, monkeypatch, last_norm) is None
    tensors, _ = Snapshots(tmp_path / "run").load() or ({}, {})
    assert {name for name in tensors if name.startswith("model.")} == {"model.ln_f.weight", "model.ln_f.bias"}
    same(run(tmp_path / "run", None, monkeypatch, last_norm), run(tmp_path / "whole", None, monkeypatch, last_norm))


def test_a_snapshot_with_lora_holds_only_the_small_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = training_settings(**{**SETTINGS.model_dump(), "keep": "best"})
    assert run(tmp_path, 7, monkeypatch, lora, params) is None
    tensors, _ = Snapshots(tmp_path).load() or ({}, {})
    small = {name: tensor for name, tensor in tensors.items() if not name.startswith("generator")}
    keys = ("model.{}", "best.{}", "optimizer.{}.exp_avg", "optimizer.{}.exp_avg_sq", "optimizer.{}.step")
    layers = [f"h.{n}.{name}" for n in (0, 1) for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    expected = {key.format(f"{layer}.lora.{AB}") for key in keys for layer in (*layers, "lm_head") for AB in "AB"}
    assert small.keys() == expected


@pytest.mark.parametrize(
    "changes", [{"keep": "best", "accumulate": 2}, {"keep": "best", "patience": 3, "eval_every": 1}, {}]
)
def test_lora_stopped_and_resumed_ends_with_the_same_bits(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = training_settings(**{**SETTINGS.model_dump(), "learning_rate": 0.03, **changes})
    expected = run(tmp_path / "whole", None, monkeypatch, lora, params)
    for stop_after in (2, 3):
        assert run(tmp_path / "run", stop_after, monkeypatch, lora, params) is None
    same(run(tmp_path / "run", None, monkeypatch, lora, params), expected)
    assert (expected[1].steps < STEPS) == ("patience" in changes)
    for name, parameter in start().named_parameters():
        assert torch.equal(parameter, expected[0].get_parameter(name)), name  # frozen


def test_without_the_moments_the_result_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path / "run", 7, monkeypatch) is None
    snapshots = Snapshots(tmp_path / "run")
    tensors, notes = snapshots.load() or ({}, {})
    snapshots.save({name: tensor for name, tensor in tensors.items() if "exp_avg" not in name}, notes)
    snapshots.lock.release()
    with pytest.raises(Exception):  # noqa: B017
        same(run(tmp_path / "run", None, monkeypatch), run(tmp_path / "whole", None, monkeypatch))


def test_the_state_of_another_model_is_refused_and_changes_nothing() -> None:
    model, other = new_model(CONFIG, "gpt2"), new_model(GPTConfig(40, 12, 16, 2, 2), "gpt2")
    optimizers = [torch.optim.AdamW(each.parameters()) for each in (model, other)]
    state = TrainingState()
    before = other.wpe.weight.detach().clone()
    with pytest.raises(InputError, match=r"another model: model.wpe.weight \(1 tensors\) differ"):
        restore(other, optimizers[1], state_tensors(model, optimizers[0], state), state.notes())
    assert torch.equal(other.wpe.weight, before)
