"""Instructions (chapter 7): entries in Alpaca's three fields, their prompts, their split, and answers to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from scratchlm.errors import InputError
from scratchlm.files.text import bullets, read_json
from scratchlm.params.choices import PromptStyle

Variant = Literal["base", "assistant", "preferred"]  # whose answer it is
Finish = Literal["stop", "length"]  # why it ended: by itself, or at the limit of tokens

VARIANTS: tuple[Variant, ...] = get_args(Variant)
# Who is compared with whom, by the beginning of the metrics' names: differences, wins and losses are the second's.
COMPARED: dict[str, tuple[Variant, Variant]] = {"": ("base", "assistant"), "preferred_": ("assistant", "preferred")}
FIELDS = ("instruction", "input", "output")
SHOWN_PROBLEMS = 10
SURROGATE = re.compile(r"[\ud800-\udfff]")  # JSON can hold one, UTF-8 cannot
ALPACA_INTRODUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)


class Entry(TypedDict):
    """One instruction with its answer, in Alpaca's three fields."""

    instruction: str  # what to do; never empty
    input: str  # the text to work on, such as a sentence to rewrite; often empty
    output: str  # the reference answer, which training teaches and judges compare with; never empty


AnyEntry = TypeVar("AnyEntry", bound=Entry)  # an entry, or one with more fields


class Answer(TypedDict):
    """What one model answered."""

    text: str  # without white space around it; may be empty
    finish: Finish
    tokens: int


class AnsweredEntry(Entry):
    """One entry of data/responses.json: an instruction with its reference, and what was answered."""

    id: int | str  # no two entries have the same
    base: Answer
    assistant: Answer
    preferred: Answer


def read_entries(path: Path, may_be_empty: Sequence[str] = ("input",)) -> list[Entry]:
    """Read a JSON list of entries; raise InputError that names the index and field of each mistake."""
    return check_entries(read_json(path, wanted(FIELDS)), str(path), may_be_empty)


def check_entries(found: Any, name: str, may_be_empty: Sequence[str] = ("input",)) -> list[Entry]:
    """Check loaded JSON entry by entry; further fields than Alpaca's three are dropped."""
    return [
        Entry(instruction=entry["instruction"], input=entry["input"], output=entry["output"])
        for entry in check_texts(found, name, FIELDS, may_be_empty)
    ]


def check_texts(
    found: Any, name: str, fields: Sequence[str], may_be_empty: Sequence[str] = ("input",)
) -> list[dict[str, str]]:
    """Check that loaded JSON is a list of objects, each with a text in every one of `fields`, and return it.

    Raises InputError that names the index and field of each mistake.
    """
    if not isinstance(found, list) or not found:
        shown = "an empty list" if found == [] else f"a {type(found).__name__}"
        raise InputError(f"{name} holds {shown}, wanted {wanted(fields)}")
    problems = [line for index, entry in enumerate(found) for line in _problems(index, entry, fields, may_be_empty)]
    if problems:
        raise InputError(
            f"{name} has {len(problems)} entries or fields that cannot be used; correct them or leave the entries out:"
            + bullets(problems, SHOWN_PROBLEMS)
        )
    return found


def wanted(fields: Sequence[str]) -> str:
    """Return in words what a file with these fields holds."""
    return f"a list of objects with the fields {', '.join(fields)}"


def drop_empty_outputs(entries: list[Entry]) -> list[Entry]:
    """Return the entries that have an output: an empty one teaches nothing, and no answer can be compared with it.

    Raises InputError if no entry is left.
    """
    answered = [entry for entry in entries if entry["output"].strip()]
    if not answered:
        raise InputError(f"the output of all {len(entries):,} instructions is empty: give entries with an answer")
    return answered


def split_entries(
    entries: list[AnyEntry], train_fraction: float, test_fraction: float, section: str = "instructions"
) -> tuple[list[AnyEntry], list[AnyEntry], list[AnyEntry]]:
    """Split in file order into train, validation and test, the test part in the middle as in chapter 7.2.

    Raises InputError that names the keys of `section` if a part would be empty.
    """
    train_end = int(len(entries) * train_fraction)
    test_end = train_end + int(len(entries) * test_fraction)
    train, test, validation = entries[:train_end], entries[train_end:test_end], entries[test_end:]
    for part, name in ((train, "train"), (test, "test"), (validation, "validation")):
        if not part:
            raise InputError(
                f"{len(entries)} {section} leave none for the {name} set: use more, or change "
                f"{section}.train_fraction, {section}.test_fraction or {section}.max_entries"
            )
    return train, validation, test


def format_task(entry: Entry, style: PromptStyle) -> str:
    """Return the part of the prompt that holds the instruction and its input."""
    if style == "alpaca":
        given = f"\n\n### Input:\n{entry['input']}" if entry["input"] else ""
        return f"{ALPACA_INTRODUCTION}\n\n### Instruction:\n{entry['instruction']}{given}"
    given = f"\n{entry['input']}" if entry["input"] else ""
    return f"<|user|>\n{entry['instruction']}{given}"


def format_prompt(entry: Entry, style: PromptStyle) -> str:
    """Return everything before the answer: the task and the marker after which the answer begins."""
    mark = "\n\n### Response:\n" if style == "alpaca" else "\n<|assistant|>:\n"
    return format_task(entry, style) + mark


def format_entry(entry: Entry, style: PromptStyle) -> str:
    """Return the prompt and the reference answer as one text, as training sees them."""
    return format_prompt(entry, style) + entry["output"]


def count_prompts_in(entries: Sequence[Entry], others: Sequence[Entry]) -> int:
    """Count the entries whose instruction and input also occur in `others`."""
    prompts = {(entry["instruction"], entry["input"]) for entry in others}
    return sum((entry["instruction"], entry["input"]) in prompts for entry in entries)


def count_answers_in(entries: list[Entry], others: list[Entry]) -> int:
    """Count the entries whose answer also occurs in `others`, where a model can have memorised it."""
    answers = {entry["output"] for entry in others}
    return sum(entry["output"] in answers for entry in entries)


def _problems(index: int, entry: Any, fields: Sequence[str], may_be_empty: Sequence[str]) -> list[str]:
    if not isinstance(entry, dict):
        return [f"entry {index}: is a {type(entry).__name__}, expected an object"]
    problems = []
    for field in fields:
        if field not in entry:
            problems.append(f"entry {index}, {field}: is missing")
        elif not isinstance(entry[field], str):
            problems.append(f"entry {index}, {field}: is a {type(entry[field]).__name__}, expected text")
        elif SURROGATE.search(entry[field]):
            problems.append(f"entry {index}, {field}: holds half a character (a lone surrogate, \\ud800 to \\udfff)")
        elif field not in may_be_empty and not entry[field].strip():
            problems.append(f"entry {index}, {field}: is empty, expected text")
    return problems
