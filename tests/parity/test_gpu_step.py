"""The benchmark of a GPU's step runs where there is no GPU, and its four ways have the same loss."""

from __future__ import annotations

import gpu_step
import pytest
import torch

pytestmark = pytest.mark.slow


def test_all_ways_of_a_step_have_the_same_loss(compiler: None) -> None:
    rows = [gpu_step.measure(way, gpu_step.TINY, 2, 2, 2, torch.device("cpu")) for way in gpu_step.WAYS]
    assert all(row.loss == pytest.approx(rows[0].loss, abs=0.01) and row.tokens_per_s > 0 for row in rows)
    assert "MFU unknown" in str(rows[0])
