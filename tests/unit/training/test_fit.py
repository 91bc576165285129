"""What a stage reports of a language model's training: losses before and after, steps and tokens."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset
from training_settings import training_settings

from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training import fit as module
from scratchlm.training.fit import fit
from scratchlm.training.loaders import loaders
from scratchlm.training.loss import IGNORED, next_token_loss
from scratchlm.training.measuring import measure_losses

SETTINGS = training_settings(epochs=2)


def test_a_fit_reports_the_losses_around_the_training_and_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    torch.manual_seed(0)
    model = new_model(GPTConfig(40, 8, 16, 2, 1), "gpt2")
    ids = torch.randint(40, (22, 9), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    batches = loaders(data, TensorDataset(*data[:6]), 4)
    before = measure_losses(model, next_token_loss, batches, 1)
    done = fit("pretrain", model, batches, SETTINGS, 1, tmp_path / "curve.csv")
    after = measure_losses(model, next_token_loss, batches, 1)
    assert done.losses() == {
        "initial_train_loss": before.train,
        "initial_validation_loss": before.validation,
        "train_loss": after.train,
        "validation_loss": after.validation,
        "validation_perplexity": math.exp(after.validation),
    }
    assert after.train < before.train
    best = min(done.state.curve, key=lambda row: row.validation_loss)
    assert done.training() == {
        "steps": 10,
        "tokens_seen": 10 * 4 * 8,
        "best_step": best.step,
        "best_validation_loss": best.validation_loss,
        "loss_gap": after.validation - after.train,
    }
    assert str(done) == f"validation loss {before.validation:.3f} -> {after.validation:.3f}"


def test_the_curve_and_the_notes_are_there_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    torch.manual_seed(0)
    ids = torch.randint(40, (22, 9), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    batches = loaders(data, TensorDataset(*data[:6]), 4)
    curve = tmp_path / "plots" / "curve.csv"
    seen: list[tuple[list[int], int]] = []

    def show(notes: list[int]) -> None:
        with curve.open(encoding="utf-8", newline="") as file:
            seen.append((list(notes), len(list(csv.DictReader(file)))))

    fit(
        "pretrain",
        new_model(GPTConfig(40, 8, 16, 2, 1), "gpt2"),
        batches,
        SETTINGS,
        1,
        curve,
        after_epoch=lambda epoch: epoch,
        show=show,
    )
    # Evaluations after steps 0, 2 and 4, then the first epoch; after 6, 8 and 9, then the second.
    assert seen == [([], 1), ([], 2), ([], 3), ([1], 3), ([1], 4), ([1], 5), ([1], 6), ([1, 2], 6)]


def test_the_final_losses_are_those_of_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    torch.manual_seed(0)
    model = new_model(GPTConfig(40, 8, 16, 2, 1), "gpt2")
    ids = torch.randint(40, (26, 9), generator=torch.Generator().manual_seed(1))
    targets = ids[:, 1:].masked_fill(torch.arange(8) > torch.arange(26)[:, None] % 8, IGNORED)  # 1 to 8 in a row
    data = TensorDataset(ids[:, :-1], targets)
    batches = loaders(TensorDataset(*data[:20]), TensorDataset(*data[20:]), 4)  # nothing to learn but by heart
    assert [int((part != IGNORED).sum()) for _, part in batches.validation] == [26, 3]
    params = SETTINGS.model_copy(update={"keep": "best", "epochs": 12})
    metrics = (done := fit("pretrain", model, batches, params, 1, tmp_path / "curve.csv")).training()
    assert metrics["best_step"] < done.state.curve[-1].step
    assert metrics["best_validation_loss"] == done.final.validation < done.state.curve[-1].validation_loss
    assert done.final == measure_losses(model, next_token_loss, batches, 1)
