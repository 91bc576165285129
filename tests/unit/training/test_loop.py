"""The training loop: steps and random numbers as in the book, schedules, losses, a stop at NaN and infinity."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_settings import training_settings

from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.params.schema import TrainingParams
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import Training, train
from scratchlm.training.loss import Batch, Loss, next_token_loss, on_device, perplexity
from scratchlm.training.measuring import loss_per_target, mean_loss, measure_losses
from scratchlm.training.schedule import learning_rate_at
from scratchlm.training.state import TrainingState

BAD_EXAMPLE = 15  # in no batch before step 7 and in no evaluation


def regression(n: int = 18) -> tuple[nn.Module, Any, TensorDataset, TensorDataset]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    inputs = torch.randn(n, 3)
    data = TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))

    return model, squared_error, data, TensorDataset(*data[:6])


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return ((model(inputs) - targets) ** 2).sum()


def train_on(
    model: nn.Module, loss: Loss, train_set: Any, validation_set: Any, params: TrainingParams, **options: Any
) -> TrainingState:
    batches = loaders(train_set, validation_set, params.batch_size)
    return train(model, loss=loss, batches=batches, params=params, name="test", **options)


def run(**changes: Any) -> tuple[nn.Module, list[Any]]:
    model, loss, train_set, validation_set = regression()
    params = training_settings(**changes)
    torch.manual_seed(123)
    return model, train_on(model, loss, train_set, validation_set, params).curve


def test_training_equals_the_plain_loop_of_the_book() -> None:
    trained, curve = run()
    model, _, train_set, validation_set = regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    torch.manual_seed(123)
    train_loader = DataLoader(train_set, 4, shuffle=True, drop_last=True)
    validation_loader = DataLoader(validation_set, 4)
    step, expected = -1, []
    for _ in range(3):
        model.train()
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            step += 1
            if step % 2 == 0 or step == 11:
                model.eval()
                losses = []
                for loader in (train_loader, validation_loader):
                    means = []
                    for index, (x, y) in enumerate(loader):
                        if index == 2:
                            break
                        means.append(nn.functional.mse_loss(model(x), y).item())
                    losses.append(sum(means) / len(means))
                expected.append((step, *losses))
                model.train()
    assert [(row.step, row.train_loss, row.validation_loss) for row in curve] == [
        (step, pytest.approx(a, rel=1e-5), pytest.approx(b, rel=1e-5)) for step, a, b in expected
    ]
    for ours, theirs in zip(trained.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = run()[0], run()[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_tokens_seen_count_what_was_fed_in() -> None:
    _, curve = run(epochs=1)
    assert [(row.step, row.tokens_seen) for row in curve] == [(0, 12), (2, 36), (3, 48)]


def test_rows_count_epochs_and_examples() -> None:
    _, curve = run(eval_every=3)
    assert [(row.step, row.epoch, row.examples_seen) for row in curve] == [
        (0, 0.25, 4),
        (3, 1.0, 16),
        (6, 1.75, 28),
        (9, 2.5, 40),
        (11, 3.0, 48),
    ]


def test_what_there_is_so_far_is_reported_after_each_evaluation_and_each_epoch() -> None:
    model, loss, train_set, validation_set = regression()
    reported: list[tuple[int, int]] = []
    show = lambda state: reported.append((len(state.curve), len(state.epoch_notes)))  # noqa: E731
    train_on(model, loss, train_set, validation_set, training_settings(epochs=2, eval_every=3), report=show)
    assert reported == [(1, 0), (2, 0), (2, 1), (3, 1), (4, 1), (4, 2)]


def test_frozen_parameters_stay_as_they_were() -> None:
    model, loss, train_set, validation_set = regression()
    first = next(model.parameters()).requires_grad_(False)
    before = first.clone()
    train_on(model, loss, train_set, validation_set, training_settings())
    assert torch.equal(first, before)


def test_after_epoch_is_called_in_evaluation_mode_with_the_epochs_number() -> None:
    model, loss, train_set, validation_set = regression()
    calls: list[tuple[int, bool]] = []
    note = lambda epoch: calls.append((epoch, model.training))  # noqa: E731
    train_on(model, loss, train_set, validation_set, training_settings(), after_epoch=note)
    assert calls == [(1, False), (2, False), (3, False)]


def test_warmup_then_cosine_ends_at_the_minimum() -> None:
    params = training_settings(schedule="cosine", warmup_steps=4, learning_rate=1.0, min_learning_rate=0.1)
    rates = [learning_rate_at(step, 24, params) for step in range(25)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[14] == pytest.approx(0.55)
    assert rates[24] == pytest.approx(0.1)
    assert all(earlier >= later for earlier, later in pairwise(rates[4:]))


def test_a_constant_rate_stays_after_the_warmup() -> None:
    params = training_settings(warmup_steps=2, learning_rate=1.0)
    assert [learning_rate_at(step, 5, params) for step in range(5)] == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_gradients_are_clipped_to_the_norm_that_is_asked_for() -> None:
    def distance_moved(gradient_clip: float | None) -> float:
        moved = run(epochs=1, learning_rate=1.0, weight_decay=0.0, gradient_clip=gradient_clip)[0]
        start = regression()[0]
        with torch.no_grad():
            pairs = zip(moved.parameters(), start.parameters(), strict=True)
            return max((a - b).abs().max().item() for a, b in pairs)

    # AdamW divides by the gradient's size, but a norm of 1e-9 is below its epsilon of 1e-8: the step is tiny.
    assert distance_moved(1e-9) < 0.5
    assert distance_moved(None) > 0.9


@pytest.mark.parametrize("gradient_clip", [None, 1.0])
def test_a_loss_that_is_not_finite_stops_before_the_update(gradient_clip: float | None) -> None:
    model, _, train_set, validation_set = regression()
    before = [parameter.clone() for parameter in model.parameters()]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch[0]).sum() * math.inf

    with pytest.raises(InputError, match=r"the loss is (nan|-?inf) at step 0 .*; stopped; there is no snapshot yet\."):
        train_on(model, loss, train_set, validation_set, training_settings(gradient_clip=gradient_clip))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_gradient_that_is_not_finite_stops_before_the_update() -> None:
    model, _, train_set, validation_set = regression()
    before = [parameter.clone() for parameter in model.parameters()]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        inputs, _ = batch
        return (model(inputs) * 0).abs().sqrt().sum()  # sqrt has no gradient at 0

    with pytest.raises(InputError, match="the gradient is nan at step 0"):
        train_on(model, loss, train_set, validation_set, training_settings())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_loss_that_is_not_finite_names_the_last_good_snapshot_and_a_rerun_fails_at_the_same_step(
    tmp_path: Path,
) -> None:
    ends = []
    for _ in range(2):
        model, loss, train_set, validation_set = regression()
        train_set.tensors[1][BAD_EXAMPLE] = math.nan
        torch.manual_seed(123)
        snapshots = Snapshots(tmp_path, every_s=0)
        with pytest.raises(InputError) as raised:
            train_on(model, loss, train_set, validation_set, training_settings(eval_every=1000), snapshots=snapshots)
        ends.append(str(raised.value))
        tensors, notes = snapshots.load() or ({}, {})
        for name, parameter in model.named_parameters():
            assert torch.equal(tensors[f"model.{name}"], parameter) and parameter.isfinite().all()
        snapshots.lock.release()
    step = notes["steps"]  # the number of steps done is the number of the next one, from 0
    assert step == 7
    assert ends == 2 * [
        f"the loss is nan at step {step} (learning rate 0.01); stopped; the last good snapshot is {snapshots.latest}. "
        "Rerunning unchanged fails at the same step: lower test.learning_rate, or set test.warmup_steps and "
        "test.gradient_clip, which starts the training again"
    ]


def test_diverged_weights_are_never_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Tanh())  # its loss stays finite for any weights
    data = TensorDataset(torch.ones(8, 3), torch.zeros(8, 1))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return (model(batch[0]) - batch[1]).sum()

    snapshots = Snapshots(tmp_path, every_s=0)
    with pytest.raises(InputError, match=r"the norm of the weights is inf at step 0 .*there is no snapshot yet"):
        train_on(model, loss, data, data, training_settings(learning_rate=1e38), snapshots=snapshots)
    assert snapshots.paths() == []


def test_a_training_that_diverged_in_its_last_step_says_so() -> None:
    with pytest.raises(InputError, match=r"the evaluated loss is (nan|inf) at step 0 .*lower test.learning_rate"):
        run(learning_rate=1e30, epochs=1, batch_size=16)


def test_a_warmup_that_outlasts_the_training_is_refused() -> None:
    with pytest.raises(InputError, match=r"test\.warmup_steps is 12, but the training has 12 steps"):
        run(warmup_steps=12)


def test_too_few_examples_for_a_batch_say_so() -> None:
    _, _, train_set, validation_set = regression(n=7)
    with pytest.raises(InputError, match=r"7 training examples, fewer than batch_size \(8\)"):
        loaders(train_set, validation_set, 8)


def test_an_empty_validation_set_says_so() -> None:
    with pytest.raises(InputError, match="the validation set is empty"):
        loaders([1, 2], [], 2)


def test_measuring_does_not_change_what_training_draws() -> None:
    model, loss, train_set, validation_set = regression()
    batches = loaders(train_set, validation_set, 4)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    first = measure_losses(model, loss, batches, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert measure_losses(model, loss, batches, seed=1) == first


def test_the_mean_loss_is_the_mean_of_the_batches_means() -> None:
    model, loss, train_set, _ = regression()
    loader: Any = DataLoader(train_set, 4)
    model.eval()
    means = [(loss(model, (x, y)) / len(x)).item() for x, y in loader]
    assert mean_loss(model, loss, loader) == sum(means) / 5
    assert mean_loss(model, loss, loader, 2) == sum(means[:2]) / 2


def test_the_loss_per_target_is_the_mean_over_all_targets() -> None:
    model, loss, train_set, _ = regression()
    model.eval()
    each = [loss(model, (x[None], y[None])).item() for x, y in train_set]
    for batch_size in (1, 4, 18):
        loader: Any = DataLoader(train_set, batch_size)
        assert loss_per_target(model, loss, loader) == pytest.approx(sum(each) / 18, rel=1e-6)
    assert loss_per_target(model, loss, DataLoader(train_set, 4), 2) == pytest.approx(sum(each[:8]) / 8, rel=1e-6)


def test_steps_between_a_bad_step_and_the_next_check_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, train_set, validation_set = regression()
    train_set.tensors[1][BAD_EXAMPLE] = math.nan
    monkeypatch.setattr("scratchlm.training.guard.LOOK_EVERY", 1000)
    torch.manual_seed(123)
    with pytest.raises(InputError, match=r"the loss is nan at step \d+ "):  # at the end of the epoch
        train_on(model, loss, train_set, validation_set, training_settings(eval_every=1000))
    late = [parameter.clone() for parameter in model.parameters()]
    model, loss, _, _ = regression()
    monkeypatch.setattr("scratchlm.training.guard.LOOK_EVERY", 1)
    torch.manual_seed(123)
    with pytest.raises(InputError, match=r"the loss is nan at step \d+ "):
        train_on(model, loss, train_set, validation_set, training_settings(eval_every=1000))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), late, strict=True))
    assert all(parameter.isfinite().all() for parameter in late)


def test_a_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a tensor's value waits for the GPU: it happens once in ten steps."""
    reads = 0

    def count(read: Any) -> Any:
        def counted(self: Tensor) -> Any:
            nonlocal reads
            reads += 1
            return read(self)

        return counted

    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, count(getattr(Tensor, name)))
    model, loss, train_set, validation_set = regression(n=80)
    run = Training(
        model, loss, loaders(train_set, validation_set, 4), training_settings(gradient_clip=1.0), "test", None
    )
    batches = list(run.batches.train)
    reads = 0
    for batch in batches[:10]:
        run.update(batch)
    assert reads == 1


def test_what_a_gpu_copies_by_itself_is_pinned_and_without_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    copied: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor)
        return tensor

    def copy(tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        copied.append(tensor)
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", copy)
    model: Any = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    window = torch.arange(10).reshape(2, 5)
    inputs, targets = on_device((window[:, :-1], window[:, 1:]), model)  # views, as `Windows` returns them
    assert (inputs.tolist(), targets.tolist()) == (window[:, :-1].tolist(), window[:, 1:].tolist())
    assert copied == pinned and all(tensor.is_contiguous() for tensor in copied)


def test_the_loss_may_be_of_a_wrapped_model() -> None:
    """Training in several processes wraps the model: the loop must call the object that `train` was given."""

    class Wrapped(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, *inputs: Tensor) -> Any:
            self.calls += 1
            return self.module(*inputs)

    model, loss, train_set, validation_set = regression()
    wrapped = Wrapped(model)
    train_on(wrapped, loss, train_set, validation_set, training_settings(eval_every=1000))
    assert wrapped.calls == 12 + 2 * 4  # every step, and two batches of two splits at the first and the last


def test_perplexity_is_the_number_of_equally_likely_tokens() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(50257)) == pytest.approx(50257)
    assert perplexity(1e6) < math.inf
    # Equal logits: as unsure as a fair die with 7 sides.
    model = GPT(GPTConfig(7, 3, 4, 1, 1, 0.0))
    nn.init.zeros_(model.wte.weight)
    ids = torch.tensor([[1, 2, 3]])
    loss_sum = next_token_loss(model, (ids, ids))
    assert perplexity(float(loss_sum.detach() / 3)) == pytest.approx(7)


def test_no_epoch_is_noted_of_a_training_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, train_set, validation_set = regression()
    train_set.tensors[1][BAD_EXAMPLE] = math.nan
    monkeypatch.setattr("scratchlm.training.guard.LOOK_EVERY", 1000)
    notes: list[int] = []
    torch.manual_seed(123)
    with pytest.raises(InputError, match=r"the loss is nan at step 7 "):  # in the second epoch
        train_on(model, loss, train_set, validation_set, training_settings(eval_every=1000), after_epoch=notes.append)
    assert notes == [1]


def test_a_training_that_ended_is_kept_whatever_the_interval(tmp_path: Path) -> None:
    model, loss, train_set, validation_set = regression()
    snapshots = Snapshots(tmp_path, every_s=1e9)
    state = train_on(model, loss, train_set, validation_set, training_settings(), snapshots=snapshots)
    _, notes = snapshots.load() or ({}, {})
    assert notes["steps"] == state.steps == 12
    assert len(snapshots.paths()) == 1
