"""Comparisons: of two revisions, paired, with an interval, and refused where it would not be one; of two judges."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.errors import InputError
from scratchlm.judging import comparison as module
from scratchlm.judging.comparison import Comparison, Judged, agreement, compare, describe, spearman, uncompared


def make_judged(
    revision: str,
    scores: list[float | None],
    judge: str = "overlap",
    variants: tuple[str, ...] = ("base", "assistant"),
    **row: Any,
) -> Judged:
    """A revision by the scores of all its models but the base; by default one from before there was a preferred one."""
    entries = [{"id": n, "instruction": f"Add {n}.", "input": "", "output": str(n)} for n in range(len(scores))]
    rows = [
        {"id": n, "variant": variant, "judge": judge, "model": "m", "score": 7.0 if variant == "base" else score} | row
        for n, score in enumerate(scores)
        for variant in variants
    ]
    return Judged(revision, entries, rows)


def only(first: Judged, second: Judged) -> Comparison:
    (comparison,) = compare(first, second)
    return comparison


def test_the_difference_is_the_seconds_minus_the_firsts_entry_by_entry() -> None:
    found = only(make_judged("a", [10, 20, 30, 40]), make_judged("b", [20, 20, 20, 100]))
    assert (found.first.value, found.second.value, found.difference.value) == (25, 40, 15)
    assert (found.wins, found.ties, found.losses, found.n, found.n_left_out) == (2, 1, 1, 4, 0)


def test_pairs_are_told_apart_where_the_means_alone_are_not() -> None:
    scores = np.random.default_rng(7).uniform(0, 90, size=40)
    found = only(make_judged("a", scores.tolist()), make_judged("b", (scores + 5).tolist()))
    assert found.first.high is not None and found.second.low is not None
    assert found.first.high > found.second.low
    assert found.difference.low == pytest.approx(5) == found.difference.high
    assert found.sign == "better"
    assert only(make_judged("b", (scores + 5).tolist()), make_judged("a", scores.tolist())).sign == "worse"


def test_noise_is_called_undecided() -> None:
    generator = np.random.default_rng(7)
    first, second = (generator.uniform(0, 100, size=30).tolist() for _ in range(2))
    found = only(make_judged("a", first), make_judged("b", second))
    assert found.sign == "undecided"
    assert "includes 0: these entries do not tell the two apart" in describe(found, "a", "b")


def test_one_win_among_ties_is_undecided() -> None:
    found = only(make_judged("a", [50] * 20), make_judged("b", [50] * 19 + [90]))
    assert (found.wins, found.difference.low, found.sign) == (1, 0, "undecided")


def test_an_entry_without_both_scores_is_left_out_of_everything() -> None:
    found = only(make_judged("a", [10, None, 30]), make_judged("b", [20, 100, None]))
    assert (found.first.value, found.second.value, found.n, found.n_left_out) == (10, 20, 1, 2)
    text = describe(found, "a", "b")
    assert "left out: 2 without a score" in text and "none" in text
    assert found.sign == "undecided"


def test_rows_are_paired_by_entry_whatever_their_order() -> None:
    second = make_judged("b", [10, 20, 30])
    found = only(make_judged("a", [10, 20, 30]), Judged("b", second.entries[::-1], second.rows[::-1]))
    assert found.ties == 3
    assert describe(found, "a", "b").endswith("Every score is the same in both.")


def test_each_judge_of_both_is_compared_and_others_are_left() -> None:
    def both(revision: str, *judges: str) -> Judged:
        parts = [make_judged(revision, [1, 2, 3], judge) for judge in judges]
        return Judged(revision, parts[0].entries, [row for part in parts for row in part.rows])

    found = compare(both("a", "overlap", "ollama:llama3", "openai:x"), both("b", "ollama:llama3", "overlap"))
    assert [one.judge for one in found] == ["ollama:llama3", "overlap"]


def test_what_was_tuned_on_preferences_is_compared_too() -> None:
    first, second = make_judged("a", [1, 2, 3], variants=VARIANTS), make_judged("b", [4, 4, 4], variants=VARIANTS)
    found = compare(first, second)
    assert [(one.variant, one.first.value, one.second.value) for one in found] == [
        ("assistant", 2, 4), ("preferred", 2, 4)
    ]  # fmt: skip
    assert describe(found[1], "a", "b").startswith("preferred, judged by overlap from 0 to 100\n")
    assert uncompared(first, second) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_revision_from_before_it_was_there_is_compared_by_the_assistant_alone(is_first: bool) -> None:
    both = make_judged("old", [1, 2, 3]), make_judged("new", [1, 2, 3], variants=VARIANTS)
    first, second = both if is_first else both[::-1]
    assert only(first, second).variant == "assistant"
    assert uncompared(first, second) == ["preferred: only new has scores"]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (make_judged("a", [1, 2]), make_judged("b", [1, 2, 3]), "different instructions (2 and 3 entries)"),
        (
            make_judged("a", [1, 2]),
            Judged("b", [{**entry, "output": "x"} for entry in make_judged("", [1, 2]).entries], []),
            "different instructions (2 of 2 entries differ, the first one is entry 0)",
        ),
        (make_judged("a", [1]), make_judged("b", [1], "ollama:llama3"), "a was judged by overlap, b by ollama:llama3"),
        (make_judged("a", [1]), Judged("b", make_judged("b", [1]).entries, []), "by overlap, b by nobody"),
        (make_judged("a", [1]), make_judged("b", [1], model="n"), "overlap is not the same judge in both: its model"),
        (
            make_judged("a", [1], model_digest="x"),
            make_judged("b", [1], model_digest="y"),
            "its model_digest is x in a and y in b",
        ),
        (make_judged("a", [1], prompt="book"), make_judged("b", [1], prompt="rubric"), "its prompt is book in a"),
        (
            make_judged("a", [1], options={"seed": 1, "temperature": 0.0}),
            make_judged("b", [1], options={"seed": 1, "temperature": 1.0}),
            "overlap is not the same judge in both: its temperature is 0.0 in a and 1.0 in b",
        ),
        (make_judged("a", [1], options={"seed": 1}), make_judged("b", [1], options={"seed": 2}), "its seed is 1 in a"),
        (
            make_judged("a", [1], options={"num_ctx": 2048}),
            make_judged("b", [1], options={"max_tokens": 9}),
            "its num_ctx is 2048 in a and not given in b",
        ),
        (make_judged("a", [None, 1]), make_judged("b", [1, None]), "overlap gave no entry a score in both"),
    ],
)
def test_what_is_not_comparable_is_refused_with_what_differs(first: Judged, second: Judged, said: str) -> None:
    with pytest.raises(InputError) as stopped:
        compare(first, second)
    assert said in str(stopped.value) and "\n" not in str(stopped.value)


def test_rows_from_before_the_options_were_kept_are_compared_without_them() -> None:
    judged = make_judged("b", [1, 2], options={"seed": 1, "temperature": 0.0})
    assert only(make_judged("a", [1, 2]), judged).ties == 2
    assert only(judged, judged).ties == 2


def test_the_table_fits_80_columns_whatever_the_names() -> None:
    name = "refs/exps/ab/" + "0123456789abcdef" * 4
    scores = [0.0] * 50 + [100.0] * 950
    found = only(make_judged(name, scores, name), make_judged(name, scores[::-1], name))
    lines = describe(found, name, name).splitlines()
    assert max(map(len, lines)) <= 80
    worst = only(make_judged(name, [100.0] * 999, name), make_judged(name, [0.0] * 999, name))
    assert max(map(len, describe(worst, name, name).splitlines())) <= 80
    assert "-100.00 to -100.00" in describe(worst, name, name)


# Of two judges: over the answers that both scored, equal to SciPy's figures.


def rows_of(scores: list[float | None]) -> list[dict[str, Any]]:
    return [
        {"id": index // 2, "variant": ("base", "assistant")[index % 2], "score": score}
        for index, score in enumerate(scores)
    ]


def test_only_answers_that_both_scored_count() -> None:
    found = agreement(rows_of([0, 50, None, 100, 30]), rows_of([10, 40, 90, None, 30, 5]))
    assert found == {"spearman": 1.0, "mean_absolute_difference": pytest.approx(20 / 3), "n": 3}


def test_rows_are_paired_by_entry_and_variant_and_not_by_place() -> None:
    rows = rows_of([0, 25, 50, 100])
    assert agreement(rows, rows[::-1]) == {"spearman": 1.0, "mean_absolute_difference": 0.0, "n": 4}


def test_opposite_judges_are_seen_as_such() -> None:
    found = agreement(rows_of([0, 50, 100]), rows_of([100, 50, 0]))
    assert found["spearman"] == pytest.approx(-1)
    assert found["mean_absolute_difference"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("scores", "others", "n"), [([], [], 0), ([5], [6], 1), ([None, 1], [1, None], 0), ([5, 5, 5], [1, 2, 3], 3)]
)
def test_what_has_no_rank_correlation_has_none_and_never_nan(
    scores: list[float | None], others: list[float | None], n: int
) -> None:
    found = agreement(rows_of(scores), rows_of(others))
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
