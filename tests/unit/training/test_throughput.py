"""Tokens per second and MFU: what counts as work, as peak, and as time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import config_of
from tiny_trainings import messages, settings_in_parts, windows

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.training import throughput
from scratchlm.training.loop import Training, train
from scratchlm.training.loss import IGNORED, Batch
from scratchlm.training.throughput import WARMUP_STEPS, Throughput, peak_flops, work_of


def batch_of(n_texts: int, length: int) -> Batch:
    ids = torch.arange(n_texts * length).view(n_texts, length)
    return ids, ids


def flops(model: LanguageModel, n_texts: int, length: int) -> int:
    work = work_of(model)
    assert work is not None
    return work.flops(batch_of(n_texts, length))


def test_a_token_of_gpt2_takes_the_operations_of_the_formula() -> None:
    with torch.device("meta"):
        model = new_model(gpt2_config("124M"), "gpt2")
    # 124,439,808 parameters, of which 1,024 x 768 are looked up; 12 blocks, 12 heads of 64.
    per_token = 6 * (124_439_808 - 786_432) + 12 * 12 * 12 * 64 * 1024
    assert flops(model, 2, 1024) == 2 * 1024 * per_token


def test_a_token_embedding_counts_only_as_the_head() -> None:
    tied, untied = (
        new_model(config_of("llama", 40, 24, 16, 2, 2, tie_embeddings=tied), "gpt2", 0.1) for tied in (True, False)
    )
    assert flops(tied, 2, 24) == flops(untied, 2, 24)


def test_the_work_of_a_model_with_a_frozen_part_is_unknown() -> None:
    model, _, _ = windows(0.0)
    assert work_of(model) is not None
    next(model.parameters()).requires_grad_(False)
    assert work_of(model) is None
    assert work_of(messages(0.0)[0]) is None


def test_neither_padding_nor_a_head_without_a_target_nor_a_shared_start_is_work() -> None:
    model = windows(0.0)[0]
    work = work_of(model)
    assert work is not None
    ids = torch.randint(40, (2, 24), generator=torch.Generator().manual_seed(1))
    targets = torch.full_like(ids, IGNORED)
    targets[0, 10:20], targets[1, 12:15] = 1, 1  # texts of 20 and 15 tokens
    head = 13 * work.per_target
    apart = 35 * work.per_token + (20**2 + 15**2) * work.per_token_and_length + head
    assert work.flops((ids, targets)) == apart
    # A batch of a pair of answers, as preference tuning has it.
    assert work.flops((ids[None], targets[None], torch.zeros(1, 2))) == apart
    ids[:, :10], ids[:, 10] = 7, torch.tensor([1, 2])
    saved = 10 * work.per_token + 10 * 15 * work.per_token_and_length
    assert work.flops((ids, targets)) == apart - saved


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GB200", None),
        ("Tesla V100-SXM2-16GB", None),
        ("cpu", None),
    ],
)
def test_the_peak_is_that_of_the_device_with_this_very_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that shows what stands in this list."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def step(speed: Throughput, clock: list[float], seconds: float) -> None:
    speed.start()
    clock[0] += seconds
    speed.count(batch_of(4, 16))


def test_neither_the_first_steps_nor_what_happens_between_steps_is_in_the_rate(clock: list[float]) -> None:
    speed = Throughput(windows(0.0)[0])
    for _ in range(WARMUP_STEPS):
        step(speed, clock, 50.0)
    for _ in range(3):
        step(speed, clock, 2.0)
        clock[0] += 0.5  # the loader's time between two steps counts
        speed.start()
        speed.pause()
        clock[0] += 1000.0  # an evaluation
    assert speed.step_s == 2.5
    assert speed.tokens_per_s == 64 / 2.5


def test_before_the_first_steps_are_done_the_rate_is_theirs(clock: list[float]) -> None:
    speed = Throughput(windows(0.0)[0])
    step(speed, clock, 4.0)
    speed.pause()
    assert speed.tokens_per_s == 16.0
    for _ in range(WARMUP_STEPS - 1):
        step(speed, clock, 4.0)
    speed.pause()
    assert speed.tokens_per_s == 16.0


def test_mfu_is_the_share_of_the_peak_of_all_processes_devices(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: LanguageModel = windows(0.0)[0]  # type: ignore[assignment]
    speed = Throughput(model)
    step(speed, clock, 1.0)
    speed.pause()
    assert str(speed) == "64 tok/s  MFU unknown"
    monkeypatch.setattr(throughput, "device_name", lambda device: "NVIDIA L4")
    needed = flops(model, 4, 16)
    monkeypatch.setattr(throughput, "PEAK_FLOPS", {"L4": 4 * needed})
    assert str(speed) == "64 tok/s  MFU 25.0%"
    monkeypatch.setattr(throughput, "n_processes", lambda: 2)
    assert speed.utilization == 0.125


def test_a_training_prints_its_rate_and_the_mfu(capsys: pytest.CaptureFixture[str]) -> None:
    model, loss, batches = windows(0.0)
    train(model, loss=loss, batches=batches, params=settings_in_parts(1), name="test")
    line = capsys.readouterr().out.splitlines()[-1]
    assert " tok/s  MFU unknown  0 s left" in line and " 0 tok/s" not in line


def test_measuring_and_snapshots_stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, batches = windows(0.0)
    run = Training(model, loss, batches, settings_in_parts(1), "test", None)
    paused: list[Any] = []
    monkeypatch.setattr(run.throughput, "pause", lambda: paused.append(None))
    run.update(next(iter(batches.train)))
    assert not paused
    run.evaluate()
    run.contents()
    assert len(paused) == 2
