"""Means with their uncertainty: the 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000
RESAMPLES_AT_ONCE = 500
INDICES_AT_ONCE = 2**18  # 2 MB, which a core's cache holds; 500 resamples of 100,000 values would take 400 MB


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % bootstrap interval; without a value there is no mean, with one value no interval."""

    value: float | None
    low: float | None
    high: float | None

    def as_metrics(self) -> dict[str, Any]:
        """The figures under the names that they have in metrics."""
        return {"mean": self.value, "ci95_low": self.low, "ci95_high": self.high}


def mean_of(values: np.ndarray, seed: int) -> Mean:
    """The mean of values of shape (n,), with its interval."""
    return Mean(float(values.mean()) if values.size else None, *bootstrap_mean_interval(values, seed))


def bootstrap_mean_interval(scores: np.ndarray, seed: int) -> tuple[float, float] | tuple[None, None]:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979), from 10,000 seeded resamples.

    `scores` has shape (n,); fewer than two give (None, None).
    """
    if scores.size < 2:
        return None, None
    means = np.concatenate([scores[index].mean(axis=1) for index in resamples(scores.size, seed)])  # (RESAMPLES,)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """Draw the indices of 10,000 resamples of `n`, (m, n) at a time; how many at a time does not change them."""
    generator = np.random.default_rng(seed)
    at_once = min(RESAMPLES_AT_ONCE, max(1, INDICES_AT_ONCE // n))
    for begin in range(0, RESAMPLES, at_once):
        yield generator.integers(n, size=(min(at_once, RESAMPLES - begin), n))
