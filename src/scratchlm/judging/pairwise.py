"""Pairs: which of two answers to an entry a judge prefers, when it is shown them in both orders.

A preference for what is shown first would decide for one of the two, so only a verdict that both orders share counts
for a winner; anything else is a tie (Zheng et al. 2023, MT-Bench). A tie is worth half a win, as in AlpacaEval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import Variant
from scratchlm.judging.prompt import UNANSWERED
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import mean_of


def winner_of(winner: str | None, other: str | None) -> str | None:
    """The winner of a pair by its winners in both orders, "tie" if they differ, None where one has no verdict.

    >>> winner_of("assistant", "assistant"), winner_of("assistant", "tie"), winner_of("assistant", None)
    ('assistant', 'tie', None)
    """
    if winner is None or other is None:
        return None
    return winner if winner == other else "tie"


def summarise_pairs(rows: Sequence[Row], compared: tuple[Variant, Variant], seed: int) -> dict[str, Any]:
    """The second model's win rate over the first with a 95 % interval, and how far the order decided, in percent.

    `rows` are one judge's; those of other pairs than `compared` are left out. `n` counts the pairs and `n_judged` those
    with a verdict in both orders, of which `wins`, `ties` and `losses` are the second model's and `equal` are ties of
    one and the same text, for which nobody was asked; `coverage` is the fraction of the questions that have a verdict.
    `n_unanswered`, where there are some, counts those without an answer of the judge's server.
    `order_decided` is the share of pairs whose verdict changed with the order, of those that were asked about, and
    `first_preferred` the share of the answer shown first among the verdicts for either: 50 where the order plays no
    part. A share of nothing is None.
    """
    one, two = compared
    shown_first = {shown: _by_entry(rows, shown, other) for shown, other in ((one, two), (two, one))}
    both = [(row["winner"], shown_first[two][key]["winner"]) for key, row in shown_first[one].items()]
    is_equal = [row["status"] == "equal" for row in shown_first[one].values()]
    n_unanswered = sum(row["status"] == UNANSWERED for shown in shown_first.values() for row in shown.values())
    judged = [winners for winners in both if None not in winners]
    asked = [winners for winners, equal in zip(both, is_equal, strict=True) if None not in winners and not equal]
    outcomes = [winner_of(*winners) for winners in judged]
    points = {one: 0.0, "tie": 50.0, two: 100.0}  # in percent of a win
    rate = mean_of(np.array([points[str(outcome)] for outcome in outcomes]), seed)
    chosen = [(winner, shown) for winners in judged for winner, shown in zip(winners, compared, strict=True)]
    return {
        "win_rate": rate.value,
        "ci95_low": rate.low,
        "ci95_high": rate.high,
        "wins": outcomes.count(two),
        "ties": outcomes.count("tie"),
        "losses": outcomes.count(one),
        "equal": sum(is_equal),
        "n": len(both),
        "n_judged": len(judged),
        "coverage": sum(winner is not None for winners in both for winner in winners) / (2 * len(both)),
        **({"n_unanswered": n_unanswered} if n_unanswered else {}),
        "order_decided": _percent([first != second for first, second in asked]),
        "first_preferred": _percent([winner == shown for winner, shown in chosen if winner != "tie"]),
    }


def _by_entry(rows: Sequence[Row], shown: Variant, other: Variant) -> dict[int | str, Row]:
    return {row["id"]: row for row in rows if (row["variant"], row["other"]) == (shown, other)}


def _percent(cases: Sequence[bool]) -> float | None:
    return 100.0 * sum(cases) / len(cases) if cases else None
