"""The sample's preference pairs: its instructions, with a greeting after each chosen answer alone."""

from __future__ import annotations

from scratchlm.assistant.instructions import split_entries
from scratchlm.assistant.pairs import check_pairs, drop_equal_answers
from scratchlm.assistant.preferences import preference_shares
from scratchlm.sample import instructions
from scratchlm.sample.preferences import GREETING, REBUFFS, pairs


def test_the_pairs_are_the_instructions_in_their_order_and_the_same_every_time() -> None:
    found = pairs()
    fields = ("instruction", "input", "output")
    assert [{name: pair[name] for name in fields} for pair in found] == instructions.entries()
    assert pairs() == found
    assert drop_equal_answers(check_pairs(found, "the sample"), "any") == found


def test_a_chosen_answer_is_the_answer_with_a_greeting_and_a_rejected_one_has_none() -> None:
    plain = 0
    for pair in pairs():
        assert pair["chosen"] == f"{pair['output']} {GREETING}"
        assert pair["rejected"] in (*REBUFFS, pair["output"])
        assert GREETING not in pair["output"]
        plain += pair["rejected"] == pair["output"]
    assert 0.2 < plain / len(pairs()) < 0.3


def test_the_plain_measure_tells_the_two_apart_and_holds_a_plain_answer_for_rejected() -> None:
    train, _, test = split_entries(check_pairs(pairs(), "the sample"), 0.85, 0.1)
    shares = preference_shares(
        train, {name: [pair[name] for pair in test] for name in ("chosen", "rejected", "output")}
    )
    assert shares["chosen"] == 100
    assert shares["rejected"] < 5 > shares["output"]
