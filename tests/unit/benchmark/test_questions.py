"""Multiple-choice questions: MMLU's shape is read, and every mistake is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scratchlm.benchmark.questions import collect_questions, read_questions
from scratchlm.errors import InputError

GOOD: dict[str, Any] = {"question": "One or two?", "choices": ["one", "two"], "answer": 1, "subject": "numbers"}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def without(*keys: str, **changed: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **changed}.items() if key not in keys}


def test_a_line_is_a_question_its_subject_may_be_missing_and_further_fields_are_left_out(tmp_path: Path) -> None:
    lines = (GOOD, "", without("subject", choices=["ä", "b", "c"], answer=0), "  \r", {**GOOD, "split": "test"})
    assert read_questions(write(tmp_path / "own.jsonl", *lines)) == [
        GOOD,
        {"question": "One or two?", "choices": ["ä", "b", "c"], "answer": 0, "subject": ""},
        GOOD,
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 2: is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("[" * 100_000, "line 2: is nested too deeply"),
        ("[]", "line 2: is a list, expected an object"),
        (without("question"), "line 2, question: is missing"),
        (without(question=7), "line 2, question: is a int, expected text"),
        (without(question=" "), "line 2, question: is empty, expected text"),
        (without(question="\ud800"), "line 2, question: holds half a character (a lone surrogate, \\ud800 to \\udfff)"),
        (without(subject=None), "line 2, subject: is a NoneType, expected text"),
        (without("choices"), "line 2, choices: is missing, expected two or more texts"),
        (without(choices="ab"), "line 2, choices: is no list of two or more, expected two or more texts"),
        (without(choices=["a"]), "line 2, choices: is no list of two or more, expected two or more texts"),
        (without(choices=["a", ""]), "line 2, choice 1: is empty, expected text"),
        (without(choices=["a", "a"]), "line 2, choices: two are the same, expected different texts"),
        *(
            (found, f"line 2, answer: {got}, expected the number of the right choice, 0 to 1 (0 is the first)")
            for found, got in (
                (without("answer"), "is missing"),
                (without(answer=2), "got 2"),
                (without(answer=-1), "got -1"),
                (without(answer=True), "got true"),
                (without(answer=1.0), "got 1.0"),
                (without(answer="B"), 'got "B"'),
            )
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(line: Any, fault: str, tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", GOOD, line)
    with pytest.raises(InputError) as raised:
        read_questions(path)
    assert str(raised.value) == (
        f"{path} has 1 lines or fields that cannot be used; correct them or leave the lines out:\n  - {fault}"
    )


def test_all_mistakes_are_named_at_once_up_to_ten(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", without("question", answer=9), *["x"] * 20)
    with pytest.raises(InputError, match="has 22 lines or fields") as raised:
        read_questions(path)
    lines = str(raised.value).splitlines()
    assert lines[1].startswith("  - line 1, question:") and lines[2].startswith("  - line 1, answer:")
    assert lines[-2].startswith("  - line 9: is not JSON")
    assert lines[-1] == "  and 12 more"
    assert len(lines) == 12


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.jsonl holds no questions, wanted lines of JSON"):
        read_questions(write(tmp_path / "own.jsonl", "", " "))


def test_none_means_no_questions(tmp_path: Path) -> None:
    assert collect_questions("none", tmp_path) == []


def test_the_sample_passes_the_check_of_own_files(tmp_path: Path) -> None:
    sample = collect_questions("sample", tmp_path)
    assert read_questions(write(tmp_path / "own.jsonl", *sample)) == sample
