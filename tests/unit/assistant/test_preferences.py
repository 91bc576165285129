"""The plain measure of a learned preference: it knows chosen from rejected answers, and says nothing of empty ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchlm.assistant.instructions import split_entries
from scratchlm.assistant.pairs import Pair, read_pairs
from scratchlm.assistant.preferences import preference_shares


def pairs(n: int) -> list[Pair]:
    return [
        Pair(
            instruction=f"Say {number}.",
            input="",
            output=f"It is {number}.",
            chosen=f"Of course, it is {number}.",
            rejected=f"Go away, it is {number}.",
        )
        for number in range(n)
    ]


def test_the_share_is_that_of_the_answers_in_the_chosen_manner() -> None:
    answers = {
        "polite": ["Of course, it is green.", "Of course, no."],
        "blunt": ["Go away, it is green."],
        "mixed": ["Go away, no.", "Of course, no.", "Go away.", "Of course."],
    }
    assert preference_shares(pairs(20), answers) == {"polite": 100, "blunt": 0, "mixed": 50}


def test_an_empty_answer_is_not_chosen() -> None:
    assert preference_shares(pairs(20), {"all": ["", " \n", "Of course, no.", ""]}) == {"all": 25}


def test_the_books_test_answers_are_told_apart_better_than_by_chance(mirror: Path) -> None:
    train, _, test = split_entries(read_pairs(mirror / "instruction-data-with-preference.json"), 0.85, 0.1)
    shares = preference_shares(train, {name: [pair[name] for pair in test] for name in ("chosen", "rejected")})
    assert shares == {"chosen": pytest.approx(74.5, abs=3), "rejected": pytest.approx(30.0, abs=3)}
