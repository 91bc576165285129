"""Means with their uncertainty: the 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """The mean of values of shape (n,), with its interval; see `means_of`."""
    (mean,) = means_of([values], seed)
    return mean


def means_of(columns: Sequence[np.ndarray], seed: int) -> list[Mean]:
    """The mean of each of several (n,), with its interval from 10,000 seeded resamples, which all of them share.

    It is the 95 % percentile bootstrap interval (Efron 1979); fewer than two values have none.
    """
    n = columns[0].size
    if n < 2:
        return [Mean(float(column.mean()) if n else None, None, None) for column in columns]
    drawn = [[column[index].mean(axis=1) for column in columns] for index in resamples(n, seed)]
    means = np.concatenate(drawn, axis=1)  # (columns, RESAMPLES)
    bounds = [np.percentile(of_one, [2.5, 97.5]) for of_one in means]
    return [
        Mean(float(column.mean()), float(low), float(high)) for column, (low, high) in zip(columns, bounds, strict=True)
    ]


def resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """Draw the indices of 10,000 resamples of `n`, (m, n) at a time; how many at a time does not change them."""
    generator = np.random.default_rng(seed)
    at_once = min(RESAMPLES_AT_ONCE, max(1, INDICES_AT_ONCE // n))
    for begin in range(0, RESAMPLES, at_once):
        yield generator.integers(n, size=(min(at_once, RESAMPLES - begin), n))
