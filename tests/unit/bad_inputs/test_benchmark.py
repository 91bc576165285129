"""Multiple-choice questions that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from spoiling import BadInput, assert_refused, param, pipe_at, removed, run_stage, set_params, written

QUESTION = {"question": "One or two?", "choices": ["one", "two"], "answer": 1}


def lines(*found: object) -> Callable[[], object]:
    return written("own.jsonl", "\n".join(map(json.dumps, found)), benchmark__source="own.jsonl")


def benchmark(name: str, make: Callable[[], object], message: str) -> BadInput:
    return BadInput(f"benchmark: {name}", make, "benchmark_models", message, process=name == "two mistakes")


BAD_INPUTS = [
    benchmark(
        "missing",
        param(benchmark__source="none.jsonl"),
        r"none\.jsonl does not exist \(looked for .*\): give a file, a URL or one of sample",
    ),
    benchmark("a pipe", pipe_at("pipe.jsonl", benchmark__source="pipe.jsonl"), r"pipe\.jsonl is not a file .*"),
    benchmark(
        "Latin-1",
        written("own.jsonl", b'{"question": "caf\xe9"}', benchmark__source="own.jsonl"),
        r".*/own\.jsonl, line 1: byte 0xe9 is not UTF-8, wanted lines of JSON, .*, saved as UTF-8",
    ),
    benchmark(
        "two mistakes",
        lines({**QUESTION, "question": ""}, QUESTION, {**QUESTION, "answer": 2}),
        r".*/own\.jsonl has 2 lines or fields that cannot be used; correct them or leave the lines out:\n"
        r"  - line 1, question: is empty, expected text\n"
        r"  - line 3, answer: got 2, expected the number of the right choice, 0 to 1 \(0 is the first\)",
    ),
    benchmark(
        "a choice that no context holds",
        lines({**QUESTION, "choices": ["one", "two" * 200]}),
        r"the choice 'two.*\.\.\.' has \d+ tokens, more than the model's context of 160: shorten it, or leave its "
        r"question out",
    ),
    benchmark("no assistant", removed("models/assistant"), r".*models/assistant.*"),
    benchmark("no preferred model", removed("models/preferred"), r".*models/preferred.*"),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_bad_questions_end_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)


def test_own_questions_of_different_lengths_are_scored(project: Path) -> None:
    lines({**QUESTION, "question": "again " * 400}, {**QUESTION, "choices": ["a", "b", "c"], "subject": "letters"})()
    run_stage("benchmark_models")
    metrics = json.loads(Path("metrics/benchmark_models.json").read_text())
    assert (metrics["questions"], len(metrics["subjects"]), metrics["cut_questions"]) == (2, 1, 1)


def test_without_a_benchmark_the_stage_writes_that(project: Path) -> None:
    set_params(benchmark__source="none")
    run_stage("benchmark_models")
    assert json.loads(Path("metrics/benchmark_models.json").read_text()) == {"source": "none", "questions": 0}
    assert json.loads(Path("data/benchmark.json").read_text()) == []
