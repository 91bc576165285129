"""Agreement of two judges on the answers that both of them scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def agreement(
    rows: Sequence[Mapping[str, Any]], other_rows: Sequence[Mapping[str, Any]]
) -> dict[str, float | int | None]:
    """Rank correlation and mean absolute difference of two judges' scores, over the rows that both scored.

    `spearman` is None where fewer than two such rows exist or where a judge gave all of them the same score;
    `mean_absolute_difference` is in points of 100. Rows are paired by `id` and `variant`.
    """
    others = {(row["id"], row["variant"]): row["score"] for row in other_rows if row["score"] is not None}
    pairs = [
        (row["score"], others[row["id"], row["variant"]])
        for row in rows
        if row["score"] is not None and (row["id"], row["variant"]) in others
    ]
    scores = np.array(pairs, dtype=np.float64).reshape(-1, 2)  # (n, 2)
    return {
        "spearman": spearman(scores[:, 0], scores[:, 1]),
        "mean_absolute_difference": float(np.abs(scores[:, 0] - scores[:, 1]).mean()) if pairs else None,
        "n": len(pairs),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two arrays of shape (n,), ties sharing their mean rank; None if undefined.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 40.0, 30.0]))
    0.5
    """
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return None
    return float(pd.Series(first).rank().corr(pd.Series(second).rank()))
