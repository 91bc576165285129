"""A training in bfloat16: matrix products alone are, and it learns, stops and resumes as one in float32."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_operations import Recorded
from safetensors.torch import load_file
from tiny_trainings import BATCH_SIZE, KINDS, messages, one_update, windows
from torch import Tensor, nn
from training_settings import classifier_settings, training_settings

from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.classifier import finetune as classifier_module
from scratchlm.classifier.classifier import Messages
from scratchlm.classifier.finetune import finetune
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import Precision
from scratchlm.params.schema import TrainingParams
from scratchlm.stage.device import autocast
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training import fit as fit_module
from scratchlm.training.fit import fit
from scratchlm.training.loop import Training, train
from scratchlm.training.loss import Batch, next_token_loss
from scratchlm.training.measuring import measure_losses
from scratchlm.training.state import TrainingState

aten: Any = torch.ops.aten
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten._scaled_dot_product_flash_attention_for_cpu}
IN_FLOAT32 = {aten._log_softmax, aten.nll_loss_forward, aten.native_layer_norm, aten.embedding, aten._fused_adamw_}


def settings(precision: Precision = "bfloat16", **changes: Any) -> TrainingParams:
    return training_settings(batch_size=BATCH_SIZE, learning_rate=0.003, **{"precision": precision, **changes})


def trained(kind: Any, precision: Precision, **changes: Any) -> tuple[nn.Module, TrainingState]:
    model, loss, batches = kind(0.1)
    torch.manual_seed(123)
    return model, train(model, loss=loss, batches=batches, params=settings(precision, **changes), name="test")


def losses(state: TrainingState) -> list[float]:
    return [value for row in state.curve for value in (row.train_loss, row.validation_loss)]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_matrix_product_of_a_step_is_in_bfloat16_and_nothing_else_that_matters(accumulate: int) -> None:
    torch.manual_seed(0)
    model = new_model(GPTConfig(4000, 32, 64, 2, 2, 0.0), "gpt2")  # large enough for the product of linear.py
    _, loss, batches = windows(0.0)
    run = Training(model, loss, batches, settings(accumulate=accumulate), "test", None)
    with Recorded() as recorded:
        run.update(next(iter(batches.train)))
    dtypes = recorded.dtypes()
    products = {name: found for name, found in dtypes.items() if name in PRODUCTS}
    assert products.keys() == PRODUCTS - {aten.bmm} and set().union(*products.values()) == {torch.bfloat16}
    assert torch.ops.mkldnn._linear_pointwise not in dtypes
    for name in IN_FLOAT32:
        assert dtypes[name] == {torch.float32}, name
    weights = [*model.parameters(), *(parameter.grad for parameter in model.parameters())]
    moments = [value for state in run.optimizer.state.values() for value in state.values()]
    assert {tensor.dtype for tensor in [*weights, *moments] if tensor is not None} == {torch.float32}


@KINDS
def test_losses_are_within_a_hundredth_of_those_in_float32(kind: Any) -> None:
    (_, exact), (_, ours) = trained(kind, "float32"), trained(kind, "bfloat16")
    assert losses(exact)[-2] < losses(exact)[0] - 0.1  # it learns
    assert losses(ours) == pytest.approx(losses(exact), abs=1e-2)
    assert losses(ours) != losses(exact)


@KINDS
def test_the_same_seed_gives_the_same_bytes(kind: Any) -> None:
    (first, its), (again, agains) = trained(kind, "bfloat16"), trained(kind, "bfloat16")
    assert its.notes() == agains.notes()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@KINDS
def test_a_step_in_parts_has_about_the_loss_and_the_gradients_of_the_whole_batch(kind: Any) -> None:
    (whole_loss, whole), (loss, parts) = (one_update(kind, accumulate, "bfloat16") for accumulate in (1, 4))
    assert loss == pytest.approx(whole_loss, abs=1e-3)
    for ours, theirs in zip(parts, whole, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()  # bfloat16 has 8 bits


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    model, _, batches = windows(0.0)
    before = [parameter.clone() for parameter in model.parameters()]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return next_token_loss(model, batch) * math.inf

    with pytest.raises(InputError, match="the loss is inf at step 0"):
        train(model, loss=loss, batches=batches, params=settings(), name="test")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_saved_model_is_float32_and_loads_as_before(tmp_path: Path, tokenizer_folder: Path) -> None:
    model, _ = trained(windows, "bfloat16")
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)  # type: ignore[arg-type]
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / WEIGHTS).values()} == {torch.float32}
    loaded, _ = load(tmp_path / "model")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded(ids), model(ids)) and loaded(ids).dtype == torch.float32


def test_measurements_of_whole_splits_have_the_precision_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    model, _, batches = windows(0.0)
    with autocast(model, "bfloat16"):
        before = measure_losses(model, next_token_loss, batches, 1)
    assert before != measure_losses(model, next_token_loss, batches, 1)
    done = fit("test", model, batches, settings(keep="best"), 1, tmp_path / "curve.csv")
    assert done.initial == before
    assert done.training()["best_validation_loss"] == done.final.validation


def test_the_classifiers_measurements_have_the_precision_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    classifier, _, batches = messages(0.0)
    data: Any = batches.train.dataset
    parts = {split: Messages(data.ids, data.labels.tolist()) for split in ("train", "validation", "test")}
    params = classifier_settings(batch_size=BATCH_SIZE, keep="best", precision="bfloat16")
    done = finetune(classifier, parts, params, 1, lambda: None)  # type: ignore[arg-type]
    assert done.final["validation"]["loss"] == pytest.approx(done.training()["best_validation_loss"], rel=1e-6)
