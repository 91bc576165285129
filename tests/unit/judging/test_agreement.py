"""Agreement of two judges: over the answers that both scored, equal to SciPy's figures."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scratchlm.judging import comparison as module
from scratchlm.judging.comparison import agreement, spearman


def make_rows(scores: list[float | None]) -> list[dict[str, Any]]:
    return [
        {"id": index // 2, "variant": ("base", "assistant")[index % 2], "score": score}
        for index, score in enumerate(scores)
    ]


def test_only_answers_that_both_scored_count() -> None:
    found = agreement(make_rows([0, 50, None, 100, 30]), make_rows([10, 40, 90, None, 30, 5]))
    assert found == {"spearman": 1.0, "mean_absolute_difference": pytest.approx(20 / 3), "n": 3}


def test_rows_are_paired_by_entry_and_variant_and_not_by_place() -> None:
    rows = make_rows([0, 25, 50, 100])
    assert agreement(rows, rows[::-1]) == {"spearman": 1.0, "mean_absolute_difference": 0.0, "n": 4}


def test_opposite_judges_are_seen_as_such() -> None:
    found = agreement(make_rows([0, 50, 100]), make_rows([100, 50, 0]))
    assert found["spearman"] == pytest.approx(-1)
    assert found["mean_absolute_difference"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("scores", "others", "n"), [([], [], 0), ([5], [6], 1), ([None, 1], [1, None], 0), ([5, 5, 5], [1, 2, 3], 3)]
)
def test_what_has_no_rank_correlation_has_none_and_never_nan(
    scores: list[float | None], others: list[float | None], n: int
) -> None:
    found = agreement(make_rows(scores), make_rows(others))
    assert (found["spearman"], found["n"]) == (None, n)
    assert (found["mean_absolute_difference"] is None) == (n == 0)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
def test_ties_are_ranked_as_scipy_does(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    found = spearman(first, second)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert found is None
    else:
        assert found is not None and not math.isnan(found)
        assert found == pytest.approx(spearmanr(first, second).statistic)


def test_the_example_in_the_docstring_holds() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 1 and failed == 0
