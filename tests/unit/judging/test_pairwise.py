"""Pairs: whose answer wins, with the order taken out of it, and figures that say how much the order decided."""

from __future__ import annotations

import doctest
import json
from itertools import product
from typing import Any

import pytest

from scratchlm.judging import pairwise as module
from scratchlm.judging.pairwise import summarise_pairs, winner_of

SEED = 123
NAMES = ("base", "tie", "assistant", None)


def make_rows(*pairs: tuple[str | None, str | None], equal: int = 0) -> list[dict[str, Any]]:
    """Rows of pairs by their winners where the base's answer was shown first and where the assistant's was."""
    pairs = (*pairs, *[("tie", "tie")] * equal)
    return [
        {
            "id": identifier,
            "variant": shown,
            "status": "parse_error" if winner is None else "equal" if identifier >= len(pairs) - equal else "ok",
            "score": None if winner is None else 50.0 if winner == "tie" else 100.0 * (winner == shown),
            "winner": winner,
        }
        for identifier, pair in enumerate(pairs)
        for shown, winner in zip(("base", "assistant"), pair, strict=True)
    ]


@pytest.mark.parametrize(("first", "second"), list(product(NAMES, NAMES)))
def test_only_a_verdict_of_both_orders_makes_a_winner(first: str | None, second: str | None) -> None:
    if first is None or second is None:
        assert winner_of(first, second) is None
    else:
        assert winner_of(first, second) == (first if first == second else "tie")


def test_a_tie_is_half_a_win() -> None:
    win, loss, tie = ("assistant", "assistant"), ("base", "base"), ("tie", "tie")
    found = summarise_pairs(make_rows(win, win, win, loss, tie), SEED)
    assert found["win_rate"] == pytest.approx(100 * 3.5 / 5)
    assert {key: found[key] for key in ("wins", "ties", "losses", "n", "n_judged", "coverage")} == {
        "wins": 3, "ties": 1, "losses": 1, "n": 5, "n_judged": 5, "coverage": 1.0,
    }  # fmt: skip
    assert found["ci95_low"] < found["win_rate"] < found["ci95_high"]
    assert (found["order_decided"], found["first_preferred"], found["equal"]) == (0, 50, 0)
    mirrored = summarise_pairs(make_rows(loss, loss, loss, win, tie), SEED)
    assert mirrored["win_rate"] == pytest.approx(100 - found["win_rate"])


def test_the_interval_is_the_bootstraps_of_a_binomial_share() -> None:
    pairs = [("assistant", "assistant")] * 60 + [("base", "base")] * 40
    found = summarise_pairs(make_rows(*pairs), SEED)
    half_width = 196 * (0.6 * 0.4 / 100) ** 0.5
    assert found["ci95_low"] == pytest.approx(60 - half_width, abs=1)
    assert found["ci95_high"] == pytest.approx(60 + half_width, abs=1)


@pytest.mark.parametrize(("pair", "first_preferred"), [(("base", "assistant"), 100), (("assistant", "base"), 0)])
def test_a_judge_that_looks_at_the_place_alone_makes_ties_and_shows_itself(
    pair: tuple[str, str], first_preferred: float
) -> None:
    found = summarise_pairs(make_rows(*[pair] * 8), SEED)
    assert (found["win_rate"], found["wins"], found["ties"], found["losses"]) == (50, 0, 8, 0)
    assert (found["order_decided"], found["first_preferred"]) == (100, first_preferred)


def test_the_order_decided_where_the_two_verdicts_differ() -> None:
    found = summarise_pairs(make_rows(("base", "assistant"), ("tie", "assistant"), ("base", "base"), equal=1), SEED)
    assert (found["ties"], found["losses"], found["equal"]) == (3, 1, 1)
    assert found["order_decided"] == 50
    # Of five verdicts for either, the first pair's two, the second's one and one of the third's chose the first.
    assert found["first_preferred"] == 80


def test_a_pair_without_a_verdict_in_one_order_is_left_out_and_counted() -> None:
    found = summarise_pairs(make_rows(("assistant", None), (None, None), ("base", "base"), ("tie", "tie")), SEED)
    assert (found["n"], found["n_judged"], found["coverage"]) == (4, 2, 5 / 8)
    assert (found["win_rate"], found["wins"], found["ties"], found["losses"]) == (25, 0, 1, 1)


@pytest.mark.parametrize("pairs", [[(None, None)], [("tie", None)], [("tie", "tie")]])
def test_too_little_gives_null_and_never_nan(pairs: list[tuple[str | None, str | None]]) -> None:
    found = summarise_pairs(make_rows(*pairs), SEED)
    json.dumps(found, allow_nan=False)
    assert (found["win_rate"] is None) == (found["order_decided"] is None) == (None in pairs[0])
    assert found["ci95_low"] is found["ci95_high"] is found["first_preferred"] is None


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 1 and failed == 0
