"""A batch computed in parts gives the loss and the gradients of the whole batch, for all four trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainings import KINDS, instructions, like_lengths, one_update, settings_in_parts, windows
from torch import Tensor, nn

from scratchlm.params.choices import Precision
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.loop import Training, train
from scratchlm.training.loss import Batch, count_targets, next_token_loss
from scratchlm.training.shares import own_parts
from scratchlm.training.state import TrainingState


@KINDS
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_a_step_in_parts_has_the_loss_and_the_gradients_of_the_whole_batch(kind: Any, accumulate: int) -> None:
    whole_loss, whole = one_update(kind, 1)
    loss, gradients = one_update(kind, accumulate)
    assert loss == pytest.approx(whole_loss, abs=1e-6)
    assert len(gradients) == len(whole)
    for ours, theirs in zip(gradients, whole, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@KINDS
def test_a_training_in_parts_ends_with_the_weights_of_a_training_on_whole_batches(kind: Any) -> None:
    ends = []
    for accumulate in (1, 8):
        model, loss, batches = kind(0.0)
        # In float64, because AdamW would divide gradients that are nothing but rounding by themselves.
        model.double()
        torch.manual_seed(123)
        state = train(model, loss=loss, batches=batches, params=settings_in_parts(accumulate), name="test")
        ends.append((model, state))
    (whole, whole_state), (in_parts, state) = ends
    for ours, theirs in zip(in_parts.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
    assert (state.steps, state.tokens_seen) == (whole_state.steps, whole_state.tokens_seen)
    for row, whole_row in zip(state.curve, whole_state.curve, strict=True):
        assert row.train_loss == pytest.approx(whole_row.train_loss, abs=1e-6)


def test_the_mean_of_the_parts_own_means_would_be_another_loss() -> None:
    """The tests above would notice it: this batch's parts differ enough in their targets."""
    model, loss, batches = instructions(0.0)
    torch.manual_seed(123)
    batch = next(iter(batches.train))
    with torch.no_grad():
        own_means = [float(loss(model, part) / count_targets(part)) for part, _ in own_parts(batch, 1)]
    assert abs(sum(own_means) / 8 - one_update(instructions, 1)[0]) > 0.01


def test_only_one_part_is_computed_at_a_time() -> None:
    model, _, batches = windows(0.0)
    rows = []

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        rows.append(len(batch[0]))
        return next_token_loss(model, batch)

    Training(model, loss, batches, settings_in_parts(4), "test", None).update(next(iter(batches.train)))
    assert rows == [2, 2, 2, 2]


@pytest.mark.parametrize("stop_after", [1, 4, 8])
@pytest.mark.parametrize("kind", [instructions, like_lengths])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_in_parts_that_was_interrupted_ends_with_the_same_bits(
    precision: Precision, kind: Any, stop_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption.request, "made", False)

    def run(folder: Path, stop_at: float) -> tuple[nn.Module, TrainingState] | None:
        model, loss, batches = kind(0.1)  # with dropout, each part draws its own
        calls = iter(range(1, 100))
        monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: next(calls) >= stop_at)
        torch.manual_seed(123)
        snapshots = Snapshots(folder)
        try:
            params = settings_in_parts(4, precision)
            return model, train(model, loss=loss, batches=batches, params=params, name="test", snapshots=snapshots)
        except Interrupted:
            return None

    assert run(tmp_path / "run", stop_after) is None
    resumed, whole = run(tmp_path / "run", 100), run(tmp_path / "whole", 100)
    assert resumed is not None and whole is not None
    assert resumed[1].notes() == whole[1].notes()
    for ours, theirs in zip(resumed[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_step_on_a_gpu_has_the_loss_of_one_on_the_cpu() -> None:
    """Its batch travels there from pinned memory, without a wait."""
    losses = []
    for device in ("cpu", "cuda"):
        model, loss, batches = instructions(0.0)
        torch.manual_seed(123)
        state = train(model.to(device), loss=loss, batches=batches, params=settings_in_parts(2), name="test")
        losses.append([row.train_loss for row in state.curve])
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
