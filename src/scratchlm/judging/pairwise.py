"""Pairs: which of the two answers to an entry a judge prefers, when it is shown them in both orders.

A preference for what is shown first would decide for one of the two, so only a verdict that both orders share counts
for a winner; anything else is a tie (Zheng et al. 2023, MT-Bench). A tie is worth half a win, as in AlpacaEval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import mean_of

POINTS = {"base": 0.0, "tie": 50.0, "assistant": 100.0}  # of the assistant, in percent of a win
ORDER_DECIDED_AT_MOST = 50.0  # percent of the pairs; above, the order decides more of them than the answers do


def winner_of(winner: str | None, other: str | None) -> str | None:
    """The winner of a pair by its winners in both orders, "tie" if they differ, None where one has no verdict.

    >>> winner_of("assistant", "assistant"), winner_of("assistant", "tie"), winner_of("assistant", None)
    ('assistant', 'tie', None)
    """
    if winner is None or other is None:
        return None
    return winner if winner == other else "tie"


def summarise_pairs(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The assistant's win rate over its base with a 95 % interval, and how far the order decided, all in percent.

    `rows` are one judge's. `n` counts the pairs and `n_judged` those with a verdict in both orders, of which `wins`,
    `ties` and `losses` are the assistant's and `equal` are ties of one and the same text, for which nobody was asked;
    `coverage` is the fraction of the questions that have a verdict. `order_decided` is the share of pairs whose verdict
    changed with the order, `first_preferred` the share of the answer shown first among the verdicts for either: 50
    where the order plays no part. A share of nothing is None.
    """
    base_first, assistant_first = ({row["id"]: row for row in rows if row["variant"] == one} for one in VARIANTS)
    both = [(base_first[key]["winner"], assistant_first[key]["winner"]) for key in base_first]
    judged = [winners for winners in both if None not in winners]
    outcomes = [winner_of(*winners) for winners in judged]
    rate = mean_of(np.array([POINTS[str(outcome)] for outcome in outcomes]), seed)
    chosen = [(winner, shown) for winners in judged for winner, shown in zip(winners, VARIANTS, strict=True)]
    return {
        "win_rate": rate.value,
        "ci95_low": rate.low,
        "ci95_high": rate.high,
        "wins": outcomes.count("assistant"),
        "ties": outcomes.count("tie"),
        "losses": outcomes.count("base"),
        "equal": sum(row["status"] == "equal" for row in base_first.values()),
        "n": len(both),
        "n_judged": len(judged),
        "coverage": sum(row["score"] is not None for row in rows) / len(rows),
        "order_decided": _percent([first != second for first, second in judged]),
        "first_preferred": _percent([winner == shown for winner, shown in chosen if winner != "tie"]),
    }


def _percent(cases: Sequence[bool]) -> float | None:
    return 100.0 * sum(cases) / len(cases) if cases else None
