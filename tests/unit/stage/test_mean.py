"""Means and their bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from scratchlm.stage import mean
from scratchlm.stage.mean import bootstrap_mean_interval


def test_the_interval_is_the_one_of_the_central_limit() -> None:
    scores = np.random.default_rng(7).normal(50, 20, size=400)
    low, high = bootstrap_mean_interval(scores, seed=123)
    half_width = 1.96 * scores.std() / np.sqrt(scores.size)
    assert low == pytest.approx(scores.mean() - half_width, abs=0.1)
    assert high == pytest.approx(scores.mean() + half_width, abs=0.1)


def test_the_seed_decides_the_interval_and_the_batches_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([0.0, 10.0, 35.0, 70.0, 100.0, 100.0, 20.0])
    first = bootstrap_mean_interval(scores, seed=123)
    assert first == bootstrap_mean_interval(scores, seed=123)
    # A lumpy mean's percentiles coincide for most seeds, not for all.
    assert {bootstrap_mean_interval(scores, seed=seed) for seed in range(20)} != {first}
    monkeypatch.setattr(mean, "RESAMPLES_AT_ONCE", mean.RESAMPLES)
    assert first == bootstrap_mean_interval(scores, seed=123)
    monkeypatch.setattr(mean, "INDICES_AT_ONCE", 1)
    assert first == bootstrap_mean_interval(scores, seed=123)


@pytest.mark.parametrize("n", [3, 110, 2**10, 2**18 + 1])
def test_few_indices_at_a_time_are_those_of_many(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mean, "RESAMPLES", 7)
    drawn = list(mean.resamples(n, seed=123))
    assert max(part.size for part in drawn) <= max(mean.INDICES_AT_ONCE, n)
    together = np.random.default_rng(123).integers(n, size=(7, n))
    assert np.array_equal(np.concatenate(drawn), together)
