"""Two real processes train as one does: DDP and FSDP2, all four trainings, stopped and resumed in any number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import shared_trainings
import torch
from several_processes import in_processes
from tiny_trainings import instructions, tiny_model
from torch import Tensor, distributed
from training_settings import training_settings

from scratchlm.assistant import tuning
from scratchlm.classifier import finetune
from scratchlm.errors import InputError
from scratchlm.training import fit as fitting
from scratchlm.training import loop, parallel, shares
from scratchlm.training.loss import IGNORED, count_targets, next_token_loss, shared_start
from scratchlm.training.parallel import is_sharded
from scratchlm.training.shares import micro_batch, own_parts

DDP: dict[str, str] = {}
FSDP = {"SCRATCHLM_SHARD": "1"}
MODULE = "shared_trainings"
CASES: dict[str, tuple[Any, ...]] = {
    "pretraining": ("fit", "windows", {"epochs": 2}),
    "pretraining-best": ("fit", "windows", {"epochs": 2, "keep": "best", "accumulate": 2}),
    "instructions": ("fit", "instructions", {"epochs": 2}),
    "instructions-llama": ("fit", "instructions", {"epochs": 1}, "all", True, 0.0, "llama"),
    "instructions-untied": ("fit", "instructions", {"epochs": 1}, "all", False),
    "instructions-lora-like-lengths": ("fit", "like_lengths", {"epochs": 1}, "lora"),
    "instructions-stored-features": ("fit", "instructions", {"epochs": 1}, "last_block"),
    "classifier": ("classify", {"epochs": 2}),
    "classifier-untied": ("classify", {"epochs": 1}, False),
    "classifier-stored-features-patience": ("classify", {"epochs": 1, "train_layers": "last_block", "patience": 2}),
    "classifier-last-layer": ("classify", {"epochs": 1, "train_layers": "last_layer", "group_by_length": True}),
    "classifier-lora": ("classify", {"epochs": 1, "train_layers": "lora"}),
    "preferences": ("prefer", {"epochs": 1}),
    "preferences-stored-features": ("prefer", {"epochs": 1, "train_layers": "last_block"}),
}


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings of `shared_trainings` set where snapshots are."""
    for module in (fitting, finetune, tuning):
        monkeypatch.setattr(module, "open_snapshots", module.open_snapshots)


def alone(folder: Path, function: str, *arguments: Any) -> Any:
    folder.mkdir()
    return getattr(shared_trainings, function)(str(folder), *arguments)


def together(folder: Path, n: int, function: str, *arguments: Any, **environment: str) -> list[Any]:
    folder.mkdir(exist_ok=True)
    return in_processes(n, MODULE, function, str(folder), *arguments, **environment)


def assert_alike(ours: Any, theirs: Any, place: str = "") -> None:
    """Compare a curve to 1e-5, other numbers relative where above 1; weights to 1e-3, as Adam amplifies rounding."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key in ours:
            assert_alike(ours[key], theirs[key], f"{place}/{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), place
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_alike(one, other, f"{place}/{number}")
    elif theirs is None:  # of an epoch after which nothing is told
        assert ours is None, place
    else:
        tolerance = 1e-3 if place.startswith("/weights") else 1e-5
        relative = 0.0 if place.startswith("/curve") else 1e-5
        assert ours == pytest.approx(theirs, rel=relative, abs=tolerance), place


def share_of_step(number: int, n: int, drop_rate: float, step: int, same_rows: bool = False) -> list[Tensor]:
    """Return the loss and the gradients that one of `n` processes finds alone, of a batch that all of them share."""
    model, loss, batches = instructions(drop_rate)
    run = loop.Training(model, loss, batches, training_settings(**shared_trainings.BATCH), "test", None)
    run.model.train()
    run.state.steps = step
    torch.manual_seed(123)
    batch = next(iter(batches.train))
    if same_rows:
        batch = tuple(part[:1].repeat(len(part), 1) for part in batch)
    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, parallel, shares):
            patch.setattr(module, "n_processes", lambda: n)
            patch.setattr(module, "rank", lambda: number, raising=False)
        found = run.backward(batch)
    return [found, *(weight.grad for weight in run.weights if weight.grad is not None)]


@pytest.mark.parametrize("at_once", ["", "3"])
@pytest.mark.parametrize("n", [2, 4])
def test_shares_with_unlike_numbers_of_targets_have_the_gradients_of_the_batch(
    n: int, at_once: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, batches = instructions(0.0)
    torch.manual_seed(123)
    counts = [int(count_targets(tuple(part[rank::n] for part in next(iter(batches.train))))) for rank in range(n)]
    assert max(counts) > 1.2 * min(counts)
    monkeypatch.setenv("SCRATCHLM_MICRO_BATCH", at_once)
    (loss, *gradients), *others = (share_of_step(rank, n, 0.0, 0) for rank in range(n))
    whole_loss, *wanted = share_of_step(0, 1, 0.0, 0)
    torch.testing.assert_close(loss + sum(other[0] for other in others), whole_loss, rtol=0, atol=1e-6)
    for place, gradient in enumerate(wanted):
        mean = (gradients[place] + sum(other[place + 1] for other in others)) / n
        torch.testing.assert_close(mean, gradient, rtol=0, atol=1e-6)


def test_no_two_processes_and_no_two_steps_have_the_same_dropout() -> None:
    found = [float(share_of_step(rank, 2, 0.5, step, same_rows=True)[0]) for step in (0, 1) for rank in (0, 1)]
    assert len(set(found)) == 4
    assert found[1] == float(share_of_step(1, 2, 0.5, 0, same_rows=True)[0])
    first, second = (share_of_step(rank, 2, 0.0, 0, same_rows=True)[0] for rank in (0, 1))
    assert first == second


def test_a_sharded_model_has_the_loss_and_gradients_of_the_model() -> None:
    """Of texts that begin alike, which the model computes once."""
    model, batch = tiny_model(0.0), random_batch()
    loss = next_token_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        copy = parallel.sharded_copy(model, torch.device("cpu"))
        copy.zero_grad()
        ours = next_token_loss(copy, batch)
        ours.backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad.full_tensor() for weight in copy.parameters()]
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)
    for mine, weight in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, weight.grad, rtol=0, atol=1e-5)


def random_batch() -> tuple[Tensor, Tensor]:
    """Return four texts that begin with ten tokens for which no target counts."""
    ids = torch.randint(40, (4, 21), generator=torch.Generator().manual_seed(1))
    ids[:, :11] = ids[0, :11]
    targets = ids[:, 1:].clone()
    targets[:, :10] = IGNORED
    assert shared_start(ids[:, :-1], targets) == 10
    return ids[:, :-1], targets


def test_dropout_of_one_s_own_leaves_what_all_draw_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "n_processes", lambda: 2)
    torch.manual_seed(123)
    wanted = torch.rand(3)
    torch.manual_seed(123)
    with parallel.own_dropout(123, 0, torch.device("cpu")):
        torch.rand(5)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("case", CASES)
def test_every_training_is_that_of_one_process(case: str, environment: dict[str, str], tmp_path: Path) -> None:
    both = together(tmp_path / "two", 2, *CASES[case], **environment)
    assert both[0] == both[1]
    assert_alike(both[0], alone(tmp_path / "one", *CASES[case]))


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("case", ["instructions", "classifier", "preferences"])
def test_parts_of_any_size_give_the_same(case: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Three of four rows, then one; of the last batch, which has one row, the second process has none."""
    both = together(tmp_path / "two", 2, *CASES[case], **environment, SCRATCHLM_MICRO_BATCH="3")
    assert_alike(both[0], alone(tmp_path / "one", *CASES[case]))


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("case", ["instructions-untied", "instructions-lora-like-lengths", "preferences"])
def test_logits_in_parts_give_the_same(case: str, environment: dict[str, str], tmp_path: Path) -> None:
    both = together(tmp_path / "two", 2, "in_parts", *CASES[case], **environment)
    wanted = alone(tmp_path / "one", *CASES[case])
    for each in (both[0], wanted):
        each.pop("notes")  # sums of logits, in which rounding adds up
    assert_alike(both[0], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
def test_two_processes_share_a_batch_in_bfloat16(environment: dict[str, str], tmp_path: Path) -> None:
    case = ("fit", "instructions", {"epochs": 1, "precision": "bfloat16"})
    both = together(tmp_path / "two", 2, *case, **environment)
    one = alone(tmp_path / "one", *case)
    for row, expected in zip(both[0]["curve"], one["curve"], strict=True):
        assert row["validation_loss"] == pytest.approx(expected["validation_loss"], abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
def test_a_compiled_training_of_two_is_that_of_one(environment: dict[str, str], tmp_path: Path) -> None:
    case = ("windows", {"epochs": 1})
    both = together(tmp_path / "two", 2, "fit_compiled", *case, **environment, SCRATCHLM_COMPILE="1")
    assert both[0] == both[1]
    assert both[0].pop("graphs") > 0
    assert_alike(both[0], alone(tmp_path / "one", "fit", *case))


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
def test_a_training_of_two_that_was_stopped_goes_on_to_the_same_bytes(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """With dropout, which both draw apart."""
    case = ("windows", {"epochs": 2, "keep": "best"}, "all", True, 0.1)
    whole = together(tmp_path / "whole", 2, "fit", *case, **environment)
    (tmp_path / "run").mkdir()
    for step in (2, 3):
        stopped = in_processes(2, MODULE, "fit_until", step, str(tmp_path / "run"), *case, **environment)
        assert stopped == [{"stopped": True}] * 2
    assert together(tmp_path / "run", 2, "fit_on", *case, **environment) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "first", "after", "then"),
    [(2, DDP, 1, DDP), (1, DDP, 2, DDP), (2, FSDP, 1, DDP), (1, DDP, 2, FSDP), (2, FSDP, 2, DDP), (2, DDP, 2, FSDP)],
)
def test_another_number_of_processes_goes_on(
    before: int, first: dict[str, str], after: int, then: dict[str, str], tmp_path: Path
) -> None:
    case = ("windows", {"epochs": 2, "keep": "best"})
    (tmp_path / "run").mkdir()
    stopped = in_processes(before, MODULE, "fit_until", 3, str(tmp_path / "run"), *case, **first)
    assert stopped == [{"stopped": True}] * before
    assert_alike(together(tmp_path / "run", after, "fit_on", *case, **then)[0], alone(tmp_path / "one", "fit", *case))


@pytest.mark.slow
def test_moments_that_are_shared_are_whole_only_after_the_training_and_in_the_first_process(tmp_path: Path) -> None:
    (n, during, after), others = together(tmp_path / "run", 2, "n_moments", **FSDP)
    assert n == after > 0 == during
    assert others == [n, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("environment", [DDP, FSDP], ids=["ddp", "fsdp2"])
def test_what_is_not_finite_in_one_process_ends_all_at_the_same_step(environment: dict[str, str]) -> None:
    first, second = in_processes(2, MODULE, "fit_with_nan", 3, **environment)
    assert first == second
    assert "InputError: the loss is nan at step 3" in first["error"]


@pytest.mark.slow
def test_processes_that_cannot_share_a_batch_evenly_are_refused(tmp_path: Path) -> None:
    for found in together(tmp_path / "run", 2, "fit", "windows", {"batch_size": 3}):
        assert "InputError: pretrain.batch_size is 3, which 2 processes cannot share evenly" in found["error"]


@pytest.mark.parametrize("value", ["2", "yes", "fsdp"])
def test_an_unknown_way_to_shard_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_SHARD", value)
    with pytest.raises(InputError, match=rf"SCRATCHLM_SHARD is '{value}', wanted 0 .* or 1"):
        is_sharded()


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_parts_without_rows_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_MICRO_BATCH", value)
    with pytest.raises(InputError, match=rf"SCRATCHLM_MICRO_BATCH is '{value}', wanted a whole number from 1"):
        micro_batch()


@pytest.mark.parametrize("at_once", [1, 2, 3, 8, None])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_every_row_of_a_batch_is_in_one_part(n: int, at_once: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = (torch.arange(7), torch.arange(7) + 100)
    seen, numbers = [], set()
    for rank in range(n):
        monkeypatch.setattr("scratchlm.training.shares.rank", lambda rank=rank: rank)
        monkeypatch.setattr("scratchlm.training.shares.n_processes", lambda: n)
        parts = list(own_parts(batch, at_once))
        numbers.add(len(parts))
        seen += [row for part, counts in parts if counts for row in part[0].tolist()]
        assert all(len(part[0]) <= (at_once or 7) and torch.equal(part[0] + 100, part[1]) for part, _ in parts)
    assert sorted(seen) == list(range(7))
    assert numbers == {math.ceil(math.ceil(7 / n) / (at_once or 7))}
