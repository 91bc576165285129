"""Reading data/responses.json: what was edited wrongly is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from answered import answered

from scratchlm.errors import OutputError, explain
from scratchlm.judging.responses import read_responses

ENTRIES = [answered(number, "Which?", f"It is {number}.", f"I think that it is {number}.") for number in range(2)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("not json", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", "the file: Input should be a valid list"),
        ("[]", "holds an empty list"),
        ("[1, 2]", "0: Input should be a valid dictionary (and 1 more problems)"),
        (json.dumps([ENTRIES[0], ENTRIES[0]]), "holds two entries with one id"),
        (json.dumps([{**ENTRIES[0], "id": [1]}]), "0.id.int: Input should be a valid integer (and 1 more problems)"),
        (json.dumps([{**ENTRIES[0], "output": 3}]), "0.output: Input should be a valid string"),
        (json.dumps([{**ENTRIES[0], "base": "hi"}]), "0.base: Input should be a valid dictionary"),
        (json.dumps([{**ENTRIES[0], "base": {"text": "hi"}}]), "0.base.finish: Field required"),
        (json.dumps([{"id": 1}]), "0.instruction: Field required (and 5 more problems)"),
        (json.dumps([{**ENTRIES[0], "input": "\ud800"}]), "holds half a character"),
    ],
)
def test_responses_that_were_edited_wrongly_are_told_in_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "responses.json"
    path.write_text(content)
    assert_told_in_one_line(path, problem)


def test_missing_responses_are_told_in_one_line(tmp_path: Path) -> None:
    assert_told_in_one_line(tmp_path / "responses.json", "is missing, wanted a list of instructions with the answers")


def assert_told_in_one_line(path: Path, problem: str) -> None:
    with pytest.raises(OutputError) as stopped:
        read_responses(path)
    message = explain(stopped.value)
    assert problem in message and str(path) in message and message.count("make repro") == 1
    assert "\n" not in message


def test_responses_as_they_were_written_are_read(tmp_path: Path) -> None:
    (tmp_path / "responses.json").write_text(json.dumps(ENTRIES))
    assert read_responses(tmp_path / "responses.json") == ENTRIES
