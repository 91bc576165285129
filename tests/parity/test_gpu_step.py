"""The benchmark of a GPU's step runs where there is no GPU, and its four ways have the same loss."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import gpu_step
import pytest
import torch


@pytest.mark.slow
def test_all_ways_of_a_step_have_the_same_loss(compiler: None) -> None:
    rows = [gpu_step.measure(way, gpu_step.TINY, 2, 2, 2, torch.device("cpu")) for way in gpu_step.WAYS]
    assert all(row.loss == pytest.approx(rows[0].loss, abs=0.01) and row.tokens_per_s > 0 for row in rows)
    assert "MFU unknown" in str(rows[0])


def printed_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    fixed = ["--size", "tiny", "--micro-batch", "2", "--device", "cpu", "--ways", "in parts", "--json"]
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", *fixed, *arguments])
    gpu_step.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("steps", ["7", "8"])  # with the first three, ten steps: then all losses have been read
def test_the_last_loss_is_told_after_any_number_of_steps(
    steps: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = printed_rows(monkeypatch, capsys, "--steps", steps)
    assert math.isfinite(row["loss"])


def test_the_environment_does_not_change_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRATCHLM_COMPILE", "yes")
    monkeypatch.setenv("SCRATCHLM_MICRO_BATCH", "0")
    assert len(printed_rows(monkeypatch, capsys, "--steps", "1")) == 1


def test_what_is_out_of_memory_is_no_part_of_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(gpu_step, "measure", fail)
    assert printed_rows(monkeypatch, capsys) == []
