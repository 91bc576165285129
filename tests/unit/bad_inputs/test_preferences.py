"""Preference pairs that cannot be used, and pairs that are left out or cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spoiling import ENTRIES, PAIRS, BadInput, assert_refused, param, pipe_at, run_stage, set_params, text, written

PAIR = r".*/pairs\.json has 1 entries or fields that cannot be used; correct them or leave the entries out:\n  - {}"
FIELDS = "a list of objects with the fields instruction, input, output, chosen, rejected"
EQUAL = {**PAIRS[0], "chosen": "Yes.", "rejected": "Yes. "}


def added(**changes: Any) -> Callable[[], object]:
    """Add a pair at the end of the user's, number 8, with other fields; None leaves one out."""
    pair = {key: value for key, value in {**PAIRS[0], **changes}.items() if value is not None}
    return written("pairs.json", json.dumps([*PAIRS, pair]))


def preferences(name: str, make: Callable[[], object], message: str) -> BadInput:
    return BadInput(f"preferences: {name}", make, "prepare_preferences", message, process=name == "a dict")


BAD_INPUTS = [
    preferences(
        "missing",
        param(preferences__source="none.json"),
        r"none\.json does not exist \(looked for .*\): give a file, a URL or one of sample, book",
    ),
    preferences("a pipe", pipe_at("pipe.json", preferences__source="pipe.json"), r"pipe\.json is not a file .*"),
    preferences("no JSON", written("pairs.json", "[{]"), rf".*/pairs\.json is not valid JSON \(.*\), wanted {FIELDS}"),
    preferences("a dict", written("pairs.json", "{}"), rf".*/pairs\.json holds a dict, wanted {FIELDS}"),
    preferences("an empty list", written("pairs.json", "[]"), rf".*/pairs\.json holds an empty list, wanted {FIELDS}"),
    preferences(
        "instructions without pairs",
        written("pairs.json", json.dumps(ENTRIES[:1])),
        r".*/pairs\.json has 2 entries or fields .*entry 0, chosen: is missing\n  - entry 0, rejected: is missing",
    ),
    preferences("no answer", added(output=None), PAIR.format("entry 8, output: is missing")),
    preferences("a number", added(chosen=1), PAIR.format("entry 8, chosen: is a int, expected text")),
    preferences("an empty answer", added(rejected=" "), PAIR.format("entry 8, rejected: is empty, expected text")),
    preferences("half a character", added(chosen="\ud800"), PAIR.format(r"entry 8, chosen: holds half a character .*")),
    preferences(
        "nothing but equal answers",
        written("pairs.json", json.dumps([EQUAL] * 8)),
        r"chosen and rejected are the same in all 4 pairs of the train set: give pairs whose answers differ",
    ),
    preferences(
        "too few",
        param(preferences__max_entries=3),
        r"3 preferences leave none for the test set: use more, or change .* or preferences\.max_entries",
    ),
    BadInput(
        "preferences: a prompt that fills the length",
        written("data/preferences/train.json", json.dumps([{**PAIRS[0], "instruction": "q w " * 50}])),
        "tune_preferences",
        r"the prompts of 1 of 1 entries are longer than tune_preferences\.max_length \(64 tokens; entry 0 of the split "
        r"has \d+\), so that nothing of the answer is left to learn: raise max_length or leave these entries out",
    ),
    BadInput(
        "preferences: fewer pairs than a batch",
        written("data/preferences/train.json", json.dumps(PAIRS[:1])),
        "tune_preferences",
        r"there are 1 training examples, fewer than batch_size \(2\): .*",
    ),
    BadInput(
        "preferences: a split without pairs",
        written("data/preferences/test.json", json.dumps(ENTRIES)),
        "tune_preferences",
        r"data/preferences/test\.json has 16 entries or fields .*",
    ),
    BadInput(
        "preferences: no test instructions",
        written("data/instructions/test.json", "{}"),
        "prepare_preferences",
        r"data/instructions/test\.json holds a dict, wanted a list .*",
    ),
    BadInput(
        "preferences: a rank that the model does not have",
        param(tune_preferences__train_layers="lora", tune_preferences__lora_rank=9),
        "tune_preferences",
        r"lora_rank is 9, but this model has layers of 8 inputs.*",
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_bad_pairs_end_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)


def test_pairs_of_equal_answers_are_dropped_counted_and_said_and_move_no_other_pair(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text("pairs.json", json.dumps([EQUAL, *PAIRS[1:4], EQUAL, *PAIRS[5:]]))
    run_stage("prepare_preferences")
    parts = [json.loads(Path(f"data/preferences/{part}.json").read_text()) for part in ("train", "test", "validation")]
    assert parts == [PAIRS[1:4], PAIRS[5:6], PAIRS[6:]]  # without the first pair of the train and of the test set
    metrics = json.loads(Path("metrics/prepare_preferences.json").read_text())
    assert (metrics["dropped_equal_answers"], metrics["pairs"], metrics["train"]) == (2, 6, 3)
    assert "2 of 8 pairs have two equal answers and are left out" in capsys.readouterr().out


def test_training_pairs_that_ask_a_test_instruction_are_counted_and_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("prepare_preferences")
    assert json.loads(Path("metrics/prepare_preferences.json").read_text())["train_pairs_in_test_instructions"] == 0
    assert "training pairs ask" not in capsys.readouterr().out
    set_params(preferences__train_fraction=0.7)  # the test instructions are the fifth and the sixth
    run_stage("prepare_preferences")
    assert json.loads(Path("metrics/prepare_preferences.json").read_text())["train_pairs_in_test_instructions"] == 1
    assert "1 training pairs ask what a test instruction asks" in capsys.readouterr().out


def test_an_answer_of_10_000_tokens_is_counted_and_cut(project: Path) -> None:
    text("data/preferences/train.json", json.dumps([{**PAIRS[0], "rejected": "q w " * 2500}, *PAIRS[1:4]]))
    run_stage("tune_preferences")
    metrics = json.loads(Path("metrics/tune_preferences.json").read_text())
    assert metrics["longest_tokens"] > 10_000
    assert (metrics["train_truncated"], metrics["test_truncated"]) == (1, 0)
