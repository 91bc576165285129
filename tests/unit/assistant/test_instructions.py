"""Instruction entries: the book's prompts, its split, and errors that name entry and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.assistant.instructions import (
    Entry,
    check_entries,
    count_answers_in,
    count_prompts_in,
    drop_empty_outputs,
    format_prompt,
    format_task,
    read_entries,
    split_entries,
)
from scratchlm.errors import InputError

ENTRY = Entry(instruction="Say it.", input="Now.", output="It.")
INTRODUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)


def entries(n: int) -> list[Entry]:
    return [Entry(instruction=f"Do {i}", input="", output=f"{i}") for i in range(n)]


def test_alpaca_prompts_are_the_books() -> None:
    assert format_prompt(ENTRY, "alpaca") == (
        INTRODUCTION + "\n\n### Instruction:\nSay it.\n\n### Input:\nNow.\n\n### Response:\n"
    )
    without_input = Entry(instruction="Say it.", input="", output="It.")
    assert format_task(without_input, "alpaca") == INTRODUCTION + "\n\n### Instruction:\nSay it."


def test_phi3_prompts_are_the_books() -> None:
    assert format_prompt(ENTRY, "phi3") == "<|user|>\nSay it.\nNow.\n<|assistant|>:\n"


def test_the_books_1100_entries_split_as_in_the_book() -> None:
    train, validation, test = split_entries(entries(1100), 0.85, 0.1)
    assert (len(train), len(validation), len(test)) == (935, 55, 110)
    assert (train[0]["output"], test[0]["output"], validation[0]["output"]) == ("0", "935", "1045")


@given(st.integers(1, 200), st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_any_split_is_disjoint_complete_and_in_file_order(n: int, train_fraction: float, test_fraction: float) -> None:
    if train_fraction + test_fraction >= 1:
        return  # refused in params.yaml
    try:
        train, validation, test = split_entries(entries(n), train_fraction, test_fraction)
    except InputError:
        assert min(int(n * train_fraction), int(n * test_fraction)) == 0
    else:
        assert train + test + validation == entries(n)
        assert len(train) == int(n * train_fraction) and len(test) == int(n * test_fraction) and validation


FIELD = st.sampled_from(["instruction", "input", "output", "other"])
VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
ANY_JSON = st.recursive(VALUE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD, inner, max_size=4))
NEARLY_RIGHT = st.lists(
    st.fixed_dictionaries({}, optional={name: VALUE for name in ("instruction", "input", "output")})
)


@given(ANY_JSON | NEARLY_RIGHT)
def test_any_json_is_read_or_refused_by_name(found: Any) -> None:
    try:
        checked = check_entries(found, "own.json")
    except InputError as error:
        assert str(error).startswith("own.json ")
    else:
        assert [set(entry) for entry in checked] == [{"instruction", "input", "output"}] * len(found)
        assert all(entry["instruction"].strip() and entry["output"].strip() for entry in checked)


@given(st.binary(max_size=30) | st.text('[]{}":,0eE-. \\u', max_size=30).map(str.encode))
def test_any_file_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_entries(path)


@pytest.mark.parametrize(("n", "empty"), [(1, "train"), (5, "test")])
def test_a_split_that_would_be_empty_is_refused(n: int, empty: str) -> None:
    with pytest.raises(InputError, match=f"{n} instructions leave none for the {empty} set"):
        split_entries(entries(n), 0.85, 0.1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"instruction": "a"}, "holds a dict, wanted a list"),
        ([], "holds an empty list"),
        ([{**ENTRY}, "text"], "entry 1: is a str, expected an object"),
        ([{**ENTRY}, {"instruction": "a", "input": ""}], "entry 1, output: is missing"),
        ([{**ENTRY, "output": 3}], "entry 0, output: is a int, expected text"),
        ([{**ENTRY, "input": None}], "entry 0, input: is a NoneType, expected text"),
        ([{**ENTRY, "output": " \n"}], "entry 0, output: is empty"),
        ([{**ENTRY, "output": "a\ud800"}], r"entry 0, output: holds half a character"),
        ([{**ENTRY, "instruction": ""}], "entry 0, instruction: is empty"),
    ],
)
def test_bad_entries_are_named_by_index_and_field(found: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=message) as error:
        read_entries(path)
    assert str(path) in str(error.value)


def test_all_problems_are_reported_at_once_up_to_ten() -> None:
    with pytest.raises(InputError) as error:
        check_entries([{"instruction": "a"}] * 20, "mine.json")
    assert "40 entries or fields" in str(error.value)
    assert "and 30 more" in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1,"])
def test_a_file_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not valid JSON"):
        read_entries(path)
    with pytest.raises(InputError, match="is missing, wanted a list of objects with the fields"):
        read_entries(tmp_path / "other.json")


def test_further_fields_are_dropped() -> None:
    assert check_entries([{**ENTRY, "id": 7}], "mine.json") == [ENTRY]


def test_answers_that_occur_in_train_are_counted() -> None:
    other = Entry(instruction="Speak.", input="", output="It.")
    assert count_answers_in([ENTRY, *entries(2)], [other]) == 1
    assert count_answers_in([ENTRY], entries(3)) == 0


def test_only_entries_without_an_output_are_dropped_and_the_order_stays() -> None:
    empty = [Entry(instruction="Say it.", input="Now.", output=output) for output in ("", " \n\t")]
    first, second, third = entries(3)
    assert drop_empty_outputs([empty[0], first, second, empty[1], third]) == [first, second, third]
    assert drop_empty_outputs(entries(3)) == entries(3)
    with pytest.raises(InputError, match="the output of all 2 instructions is empty: give entries with an answer"):
        drop_empty_outputs(empty)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([ENTRY]), encoding="utf-8-sig")
    assert read_entries(path) == [ENTRY]


def test_prompts_that_occur_in_train_are_counted() -> None:
    assert count_prompts_in([ENTRY, *entries(2)], [Entry(instruction="Say it.", input="Now.", output="?")]) == 1
