"""Preference pairs: what a file must hold, pairs that say nothing, and the book's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scratchlm.assistant.instructions import read_entries, split_entries
from scratchlm.assistant.pairs import Pair, check_pairs, drop_equal_answers, read_pairs
from scratchlm.errors import InputError

PAIR = Pair(instruction="Say it.", input="", output="It.", chosen="It, please.", rejected="It!")


def test_pairs_are_read_and_further_fields_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps([{**PAIR, "author": "me"}]))
    assert read_pairs(tmp_path / "own.json") == [PAIR]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"chosen": ""}, "entry 1, chosen: is empty, expected text"),
        ({"rejected": " "}, "entry 1, rejected: is empty, expected text"),
        ({"output": ""}, "entry 1, output: is empty, expected text"),
        ({"rejected": 3}, "entry 1, rejected: is a int, expected text"),
        ({"chosen": "\ud800"}, "entry 1, chosen: holds half a character"),
        ({"chosen": None}, "entry 1, chosen: is missing"),
    ],
)
def test_a_mistake_is_named_with_its_entry_and_field(changes: dict[str, Any], problem: str) -> None:
    bad = {key: value for key, value in {**PAIR, **changes}.items() if value is not None}
    with pytest.raises(InputError, match=problem):
        check_pairs([PAIR, bad], "own.json")


def test_pairs_of_two_equal_answers_are_dropped() -> None:
    equal = Pair(instruction="a", input="", output="b", chosen="Yes.", rejected=" Yes.\n")
    assert drop_equal_answers([PAIR, equal, PAIR], "test") == [PAIR, PAIR]
    with pytest.raises(InputError, match="chosen and rejected are the same in all 2 pairs of the test set"):
        drop_equal_answers([equal, equal], "test")


def test_the_books_pairs_are_its_instructions_of_which_six_have_two_equal_answers(mirror: Path) -> None:
    pairs = read_pairs(mirror / "instruction-data-with-preference.json")
    entries = read_entries(mirror / "instruction-data.json")
    assert [{key: pair[key] for key in ("instruction", "input", "output")} for pair in pairs] == entries
    parts = split_entries(pairs, 0.85, 0.1, "preferences")
    left = [len(drop_equal_answers(part, "any")) for part in parts]
    assert (len(pairs), left) == (1100, [929, 55, 110])


def test_a_split_without_pairs_names_the_keys_of_the_pairs() -> None:
    with pytest.raises(InputError, match=r"3 preferences leave none for the test set.*preferences\.test_fraction"):
        split_entries([PAIR] * 3, 0.85, 0.1, "preferences")
