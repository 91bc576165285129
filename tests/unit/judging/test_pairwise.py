"""Pairs: whose answer wins, with the order taken out of it, and figures that say how much the order decided."""

from __future__ import annotations

import doctest
import json
from itertools import product
from typing import Any

import pytest
from answered import Winners, pair_rows

from scratchlm.judging import pairwise as module
from scratchlm.judging.pairwise import summarise_pairs, winner_of

SEED = 123
NAMES = ("base", "tie", "assistant", None)


def summary_of(*winners: Winners, equal: int = 0) -> dict[str, Any]:
    return summarise_pairs(pair_rows(winners, equal=equal), ("base", "assistant"), SEED)


@pytest.mark.parametrize(("first", "second"), list(product(NAMES, NAMES)))
def test_only_a_verdict_of_both_orders_makes_a_winner(first: str | None, second: str | None) -> None:
    if first is None or second is None:
        assert winner_of(first, second) is None
    else:
        assert winner_of(first, second) == (first if first == second else "tie")


def test_a_tie_is_half_a_win() -> None:
    win, loss, tie = ("assistant", "assistant"), ("base", "base"), ("tie", "tie")
    found = summary_of(win, win, win, loss, tie)
    assert found["win_rate"] == pytest.approx(100 * 3.5 / 5)
    assert {key: found[key] for key in ("wins", "ties", "losses", "n", "n_judged", "coverage")} == {
        "wins": 3, "ties": 1, "losses": 1, "n": 5, "n_judged": 5, "coverage": 1.0,
    }  # fmt: skip
    assert found["ci95_low"] < found["win_rate"] < found["ci95_high"]
    assert (found["order_decided"], found["first_preferred"], found["equal"]) == (0, 50, 0)
    mirrored = summary_of(loss, loss, loss, win, tie)
    assert mirrored["win_rate"] == pytest.approx(100 - found["win_rate"])


def test_the_interval_is_the_bootstraps_of_a_binomial_share() -> None:
    pairs = [("assistant", "assistant")] * 60 + [("base", "base")] * 40
    found = summary_of(*pairs)
    half_width = 196 * (0.6 * 0.4 / 100) ** 0.5
    assert found["ci95_low"] == pytest.approx(60 - half_width, abs=1)
    assert found["ci95_high"] == pytest.approx(60 + half_width, abs=1)


@pytest.mark.parametrize(("pair", "first_preferred"), [(("base", "assistant"), 100), (("assistant", "base"), 0)])
def test_a_judge_that_looks_at_the_place_alone_makes_ties_and_shows_itself(
    pair: tuple[str, str], first_preferred: float
) -> None:
    found = summary_of(*[pair] * 8)
    assert (found["win_rate"], found["wins"], found["ties"], found["losses"]) == (50, 0, 8, 0)
    assert (found["order_decided"], found["first_preferred"]) == (100, first_preferred)


def test_the_order_decided_where_the_two_verdicts_differ() -> None:
    found = summary_of(("base", "assistant"), ("tie", "assistant"), ("base", "base"), equal=1)
    assert (found["ties"], found["losses"], found["equal"]) == (3, 1, 1)
    assert found["order_decided"] == pytest.approx(200 / 3)  # of the three pairs that were asked about
    # Of five verdicts for either, the first pair's two, the second's one and one of the third's chose the first.
    assert found["first_preferred"] == 80


def test_a_pair_without_a_verdict_in_one_order_is_left_out_and_counted() -> None:
    found = summary_of(("assistant", None), (None, None), ("base", "base"), ("tie", "tie"))
    assert (found["n"], found["n_judged"], found["coverage"]) == (4, 2, 5 / 8)
    assert (found["win_rate"], found["wins"], found["ties"], found["losses"]) == (25, 0, 1, 1)


def test_the_pairs_of_other_models_are_left_out() -> None:
    rows = [
        *pair_rows([("assistant", "assistant"), ("assistant", None)]),
        *pair_rows([("preferred", "preferred"), ("assistant", "preferred")], ("assistant", "preferred"), equal=1),
    ]
    assert summarise_pairs(rows, ("base", "assistant"), SEED) == summary_of(
        ("assistant", "assistant"), ("assistant", None)
    )
    found = summarise_pairs(rows, ("assistant", "preferred"), SEED)
    assert (found["wins"], found["ties"], found["losses"], found["equal"], found["coverage"]) == (1, 2, 0, 1, 1.0)
    assert (found["win_rate"], found["first_preferred"]) == (pytest.approx(200 / 3), 75)


@pytest.mark.parametrize("pairs", [[(None, None)], [("tie", None)], [("tie", "tie")]])
def test_too_little_gives_null_and_never_nan(pairs: list[tuple[str | None, str | None]]) -> None:
    found = summary_of(*pairs)
    json.dumps(found, allow_nan=False)
    assert (found["win_rate"] is None) == (found["order_decided"] is None) == (None in pairs[0])
    assert found["ci95_low"] is found["ci95_high"] is found["first_preferred"] is None


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 1 and failed == 0
