"""Which weights a training keeps, and when it stops for want of progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_settings import training_settings

from scratchlm.params.schema import TrainingParams
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.best import best_of, is_out_of_patience, training_metrics
from scratchlm.training.loaders import Loaders, loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import Batch
from scratchlm.training.measuring import loss_per_target, mean_loss, measure_losses
from scratchlm.training.state import Evaluation, TrainingState

SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "learning_rate": 0.02,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup_steps": 2,
    "eval_batches": 1,
}
STEPS, STEPS_PER_EPOCH = 24, 6


def curve(*losses: float) -> list[Evaluation]:
    return [Evaluation(10 * index, 1.0, 1, 1, 0.1, 0.5, loss) for index, loss in enumerate(losses)]


def settings(**changes: Any) -> TrainingParams:
    return training_settings(**{**SETTINGS, **changes})


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return ((model(inputs) - targets) ** 2).sum()


def overfitting() -> tuple[nn.Module, Loaders]:
    """A model and data of which training first learns what validation has too, then the noise of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1))
    inputs = torch.randn(44, 6)
    targets = inputs[:, :1] + 2 * torch.randn(44, 1)
    return model, loaders(TensorDataset(inputs[:26], targets[:26]), TensorDataset(inputs[26:], targets[26:]), 4)


def run(**changes: Any) -> tuple[nn.Module, TrainingState, list[list[Tensor]]]:
    """Train; return the model, the state, and the weights at each evaluation."""
    model, batches = overfitting()
    weights: dict[int, list[Tensor]] = {}

    def report(state: TrainingState) -> None:
        weights.setdefault(len(state.curve), [parameter.detach().clone() for parameter in model.parameters()])

    torch.manual_seed(123)
    state = train(model, loss=squared_error, batches=batches, params=settings(**changes), name="test", report=report)
    return model, state, list(weights.values())


def equal(model: nn.Module, weights: list[Tensor]) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), weights, strict=True))


def test_the_best_evaluation_is_the_first_of_the_lowest_validation_loss() -> None:
    assert best_of(curve(3.0, 1.0, 2.0, 1.0)).step == 10


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ((3.0, 2.0, 1.0), 1, False),
        ((3.0, 1.0, 1.0), 1, True),  # as low is no improvement
        ((3.0, 1.0, 2.0), 2, False),
        ((3.0, 1.0, 2.0, 1.5), 2, True),
        ((3.0, 4.0, 5.0), None, False),
        ((), 1, False),
    ],
)
def test_patience_counts_the_evaluations_since_the_best(
    losses: tuple[float, ...], patience: int | None, expected: bool
) -> None:
    assert is_out_of_patience(curve(*losses), patience) is expected


def test_best_trains_as_last_does_and_keeps_the_weights_of_the_lowest_validation_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    last_model, last, weights = run()
    assert "keeping" not in capsys.readouterr().out
    model, state, same_weights = run(keep="best")
    lowest = min(range(len(state.curve)), key=lambda index: state.curve[index].validation_loss)
    assert 0 < lowest < len(state.curve) - 1  # or this test would show nothing
    assert equal(last_model, weights[-1]) and equal(model, weights[lowest])
    assert all(map(torch.equal, weights[-1], same_weights[-1]))
    assert [row.train_loss for row in state.curve] == [row.train_loss for row in last.curve]
    best = state.curve[lowest]
    said = f"keeping the weights of step {best.step}, validation loss {best.validation_loss:.3f}"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert not model.training


def test_an_evaluation_that_decides_something_is_of_every_validation_target_alike() -> None:
    _, batches = overfitting()
    assert [len(inputs) for inputs, _ in batches.validation] == [4, 4, 4, 4, 2]
    for changes in ({"keep": "best"}, {"patience": 100}, {"keep": "best", "eval_batches": 3}):
        model, state, _ = run(**changes)
        kept = best_of(state.curve) if changes.get("keep") == "best" else state.curve[-1]
        assert kept.validation_loss == loss_per_target(model, squared_error, batches.validation), changes
        assert kept.validation_loss == measure_losses(model, squared_error, batches, 1).validation
    for n_batches in (1, 3, 5):
        model, state, _ = run(eval_batches=n_batches)
        assert state.curve[-1].validation_loss == mean_loss(model, squared_error, batches.validation, n_batches)


def test_the_choice_does_not_depend_on_the_validation_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, state, _ = run(keep="best")
    whole = overfitting

    def other_batches() -> tuple[nn.Module, Loaders]:
        model, batches = whole()
        return model, batches._replace(validation=DataLoader(batches.validation.dataset, 7))

    monkeypatch.setitem(globals(), "overfitting", other_batches)
    other, other_state, _ = run(keep="best")
    assert [row.validation_loss for row in other_state.curve] == pytest.approx(
        [row.validation_loss for row in state.curve], rel=1e-6
    )
    assert equal(other, list(model.parameters()))


@pytest.mark.parametrize("eval_batches", [1, 4])
def test_a_large_validation_split_counts_in_part(eval_batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchlm.training.loop.MEASURED_BATCHES", 2)
    model, state, _ = run(patience=100, eval_batches=eval_batches)
    assert state.curve[-1].validation_loss == loss_per_target(model, squared_error, overfitting()[1].validation, 2)


def test_an_evaluation_after_the_last_step_can_be_the_best() -> None:
    model, state, weights = run(keep="best", epochs=1, eval_every=4)
    assert [row.step for row in state.curve] == [0, 4, 5]
    assert best_of(state.curve).step == 5 and equal(model, weights[-1])


@pytest.mark.parametrize("keep", ["last", "best"])
def test_patience_ends_a_training_early_and_says_so(keep: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, whole, weights = run(patience=1000)
    model, state, _ = run(patience=2, keep=keep)
    best = best_of(state.curve)
    assert state.curve[-3] == best and state.steps < STEPS
    # Up to there, nothing differs: neither the schedule of the learning rate nor what is drawn.
    assert state.curve == whole.curve[: len(state.curve)]
    assert equal(model, weights[len(state.curve) - (3 if keep == "best" else 1)])
    assert state.tokens_seen == state.steps * 4 * 6
    stopped = f"stopped after {state.steps} of 24 steps: no lower validation loss in 2 evaluations; "
    kept = {
        "last": f"keeping the last weights; the lowest validation loss was that of step {best.step}",
        "best": f"keeping the weights of step {best.step}, validation loss {best.validation_loss:.3f}",
    }
    assert capsys.readouterr().out.splitlines()[-1] == stopped + kept[keep]


def test_the_epoch_in_which_a_training_stops_has_its_note() -> None:
    model, batches = overfitting()
    torch.manual_seed(123)
    params = settings(patience=2)
    state = train(model, loss=squared_error, batches=batches, params=params, name="test", after_epoch=lambda n: n)
    assert state.steps % STEPS_PER_EPOCH != 0  # in the midst of an epoch
    assert state.epoch_notes == list(range(1, state.steps // STEPS_PER_EPOCH + 2))


def test_the_metrics_name_the_length_the_best_evaluation_and_the_gap() -> None:
    state = TrainingState(steps=21, tokens_seen=99, curve=curve(3.0, 1.25, 2.0))
    assert training_metrics(state, 0.5, 1.5) == {
        "steps": 21,
        "tokens_seen": 99,
        "best_step": 10,
        "best_validation_loss": 1.25,
        "loss_gap": 1.0,
    }


def resumable(folder: Path, stop_after: int | None, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """Train or resume, with a stop requested after so many steps; return the results, or None if it was stopped."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return stop_after is not None and calls >= stop_after

    monkeypatch.setattr(interruption.request, "made", False)
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", stop)
    model, batches = overfitting()
    reported: list[int] = []
    torch.manual_seed(123)
    try:
        state = train(
            model,
            loss=squared_error,
            batches=batches,
            params=settings(**changes),
            name="test",
            after_epoch=lambda epoch: [epoch, float(torch.rand(1))],
            report=lambda state: reported.append(len(state.curve)),
            snapshots=Snapshots(folder),
        )
    except Interrupted:
        return None
    return list(model.parameters()), state, reported


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"keep": "best", "patience": 2}, {"patience": 2}])
def test_a_training_stopped_after_every_step_keeps_the_same_weights(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = resumable(tmp_path / "whole", None, monkeypatch, **changes)
    stops = 0
    while (resumed := resumable(tmp_path / "run", 1, monkeypatch, **changes)) is None:
        stops += 1
        assert stops <= STEPS
    assert stops == whole[1].steps  # also after the last one, before the results are written
    assert resumed[1].notes() == whole[1].notes()
    assert all(map(torch.equal, resumed[0], whole[0]))
    assert resumed[2] == [len(whole[1].curve)]  # what a resumed training shows at once


def test_a_resumed_training_shows_the_earlier_rows_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resumable(tmp_path, 7, monkeypatch) is None
    _, state, reported = resumable(tmp_path, None, monkeypatch)
    rows = sum(row.step < 7 for row in state.curve)
    assert reported[:2] == [rows, rows + 1] and reported[-1] == len(state.curve)


def test_the_best_weights_are_saved_once_and_only_the_trained_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved(folder: Path, **changes: Any) -> set[str]:
        assert resumable(folder, 7, monkeypatch, **changes) is None
        tensors, _ = Snapshots(folder).load() or ({}, {})
        return {name for name in tensors if name.startswith("best.")}

    unfrozen = overfitting

    def frozen() -> tuple[nn.Module, Loaders]:
        model, batches = unfrozen()
        next(model.parameters()).requires_grad_(False)
        return model, batches

    assert saved(tmp_path / "last") == set()
    assert saved(tmp_path / "all", keep="best") == {"best.0.weight", "best.0.bias", "best.3.weight", "best.3.bias"}
    monkeypatch.setitem(globals(), "overfitting", frozen)
    assert saved(tmp_path / "frozen", keep="best") == {"best.0.bias", "best.3.weight", "best.3.bias"}
