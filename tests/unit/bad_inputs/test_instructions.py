"""Instructions that cannot be used, and a long one that can."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spoiling import ENTRIES, BadInput, assert_refused, param, pipe_at, run_stage, set_params, text, written

INSTRUCTION = (
    r".*/own\.json has 1 entries or fields that cannot be used; correct them or leave the entries out:\n  - {}"
)


def entries(*changed: Any) -> Callable[[], object]:
    """Add instructions at the end of the user's; the first one added is number 8."""
    return written("own.json", json.dumps([*ENTRIES, *changed]))


def instructions(name: str, make: Callable[[], object], message: str) -> BadInput:
    return BadInput(f"instructions: {name}", make, "prepare_instructions", message, process=name == "a dict")


BAD_INPUTS = [
    instructions(
        "missing",
        param(instructions__source="none.json"),
        r"none\.json does not exist \(looked for .*\): give a file, a URL or one of sample, book, alpaca",
    ),
    instructions("a pipe", pipe_at("pipe.json", instructions__source="pipe.json"), r"pipe\.json is not a file .*"),
    instructions(
        "no JSON",
        written("own.json", "[{]"),
        r".*/own\.json is not valid JSON \(.*\), wanted a list of objects with the fields instruction, input, output",
    ),
    instructions(
        "lines of JSON",
        written("own.json", "\n".join(map(json.dumps, ENTRIES))),
        r".*/own\.json is not valid JSON \(Extra data: line 2 .*\), wanted a list .*",
    ),
    instructions(
        "Latin-1",
        written("own.json", b'["caf\xe9"]'),
        r".*/own\.json, line 1: byte 0xe9 is not UTF-8, wanted a list .*, saved as UTF-8",
    ),
    instructions(
        "nested without end",
        written("own.json", "[" * 100_000),
        r".*/own\.json is not valid JSON \(nested too deeply\), wanted a list .*",
    ),
    instructions(
        "a dict",
        written("own.json", "{}"),
        r".*/own\.json holds a dict, wanted a list of objects with the fields instruction, input, output",
    ),
    instructions(
        "an empty list", written("own.json", "[]"), r".*/own\.json holds an empty list, wanted a list of objects .*"
    ),
    instructions("a list of texts", entries("hello"), INSTRUCTION.format("entry 8: is a str, expected an object")),
    instructions(
        "a field is missing",
        entries({"instruction": "a", "output": "b"}),
        INSTRUCTION.format("entry 8, input: is missing"),
    ),
    instructions(
        "a field of another type",
        entries({"instruction": "a", "input": None, "output": "b"}),
        INSTRUCTION.format("entry 8, input: is a NoneType, expected text"),
    ),
    instructions(
        "an empty task",
        entries({"instruction": "a", "input": "", "output": " "}, {"instruction": " ", "input": "", "output": "b"}),
        INSTRUCTION.format("entry 9, instruction: is empty, expected text"),
    ),
    instructions(
        "an entry with two faults",
        entries({"instruction": "", "input": "", "output": ""}),
        INSTRUCTION.format("entry 8, instruction: is empty, expected text"),
    ),
    instructions(
        "no answer at all",
        written("own.json", json.dumps([{**entry, "output": " "} for entry in ENTRIES])),
        r"the output of all 8 instructions is empty: give entries with an answer",
    ),
    instructions(
        "fewer than the splits need are wanted",
        param(instructions__max_entries=3),
        r"3 instructions leave none for the test set: use more, or change .* or instructions\.max_entries",
    ),
    instructions(
        "half a character",
        entries({"instruction": "\ud800", "input": "", "output": "b"}),
        INSTRUCTION.format(r"entry 8, instruction: holds half a character .*"),
    ),
    instructions(
        "too few",
        written("own.json", json.dumps(ENTRIES[:2])),
        r"2 instructions leave none for the test set: use more, or change instructions\.train_fraction, .*",
    ),
    BadInput(
        "instructions: a prompt of 10,000 tokens",
        written(
            "data/instructions/train.json", json.dumps([{"instruction": "q w " * 2500, "input": "", "output": "b"}])
        ),
        "finetune_instructions",
        r"the prompts of 1 of 1 entries are longer than finetune_instructions\.max_length \(64 tokens; entry 0 of "
        r"the split has 10,0\d\d\), so that nothing of the answer is left to learn: raise max_length or leave "
        r"these entries out",
    ),
    BadInput(
        "instructions: a split that is no JSON",
        written("data/instructions/validation.json", ""),
        "finetune_instructions",
        r"data/instructions/validation\.json is not valid JSON \(.*\), wanted a list .*",
    ),
    BadInput(
        "instructions: a split with an empty answer",
        written("data/instructions/validation.json", json.dumps([{"instruction": "a", "input": "", "output": ""}])),
        "finetune_instructions",
        r"data/instructions/validation\.json has 1 entries or .*entry 0, output: is empty, expected text",
    ),
    BadInput(
        "instructions: a test set that is a dict",
        written("data/instructions/test.json", "{}"),
        "generate_responses",
        r"data/instructions/test\.json holds a dict, wanted a list .*",
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_list_of_instructions_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)


def test_empty_answers_as_in_stanford_alpacas_file_are_dropped_counted_and_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"instruction": "Calculate the total surface area.", "input": "10 cm", "output": ""}
    text("own.json", json.dumps([empty, *ENTRIES[:4], {**empty, "output": "\n"}, *ENTRIES[4:], empty]))

    def prepared() -> tuple[dict[str, int], list[dict[str, str]]]:
        run_stage("prepare_instructions")
        parts = [json.loads(Path(f"data/instructions/{part}.json").read_text()) for part in ("train", "test")]
        validation = json.loads(Path("data/instructions/validation.json").read_text())
        return json.loads(Path("metrics/prepare_instructions.json").read_text()), [*parts[0], *parts[1], *validation]

    metrics, kept = prepared()
    assert kept == ENTRIES
    assert {name: metrics[name] for name in ("dropped_empty_outputs", "entries", "train", "test", "validation")} == {
        **{"dropped_empty_outputs": 3, "entries": 8},
        **{"train": 4, "test": 2, "validation": 2},  # the split is that of the 8 entries that are left
    }
    assert "3 of 11 instructions have an empty output and are left out" in capsys.readouterr().out
    set_params(instructions__max_entries=5)
    metrics, kept = prepared()
    assert kept == ENTRIES[:5]  # five that have an output
    assert (metrics["dropped_empty_outputs"], metrics["entries"]) == (3, 5)
    set_params(instructions__max_entries=1000)
    assert prepared()[1] == ENTRIES


def test_an_entry_of_10_000_tokens_is_counted_cut_and_left_unanswered(project: Path) -> None:
    long = {"instruction": "q w " * 2500, "input": "", "output": "b"}
    text("own.json", json.dumps([long] * 4 + ENTRIES))
    set_params(finetune_instructions__mask_prompt=False, instructions__test_fraction=0.4)
    for stage in ("prepare_instructions", "finetune_instructions"):
        run_stage(stage)
    counts = json.loads(Path("metrics/finetune_instructions.json").read_text())
    assert counts["longest_tokens"] > 10_000
    assert counts["truncated"] == 4
    text("data/instructions/test.json", json.dumps([long, ENTRIES[0]]))
    run_stage("generate_responses")
    answers = json.loads(Path("data/responses.json").read_text())
    assert [answer["assistant"]["tokens"] for answer in answers] == [0, 4]
