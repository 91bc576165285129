"""Multiple-choice questions in MMLU's shape: the embedded sample, or a JSONL file, checked line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from scratchlm.assistant.instructions import SURROGATE
from scratchlm.download.fetch import opened_source
from scratchlm.errors import InputError
from scratchlm.files.text import bullets, read_text
from scratchlm.sample import questions as sample_questions

WANTED = "lines of JSON, each an object with question, choices, answer and, where there are subjects, subject"
SHOWN_PROBLEMS = 10


class Question(TypedDict):
    """One question with its choices, of which one is right."""

    question: str  # never empty
    choices: list[str]  # two or more different texts
    answer: int  # the index of the right choice, from 0
    subject: str  # "" for none


def collect_questions(source: str, inputs: Path) -> list[Question]:
    """Return the questions of `source`: `sample`, none at all for `none`, or those of a JSONL file or URL.

    `inputs` is the folder in which DVC tracks own files. Raises InputError as `read_questions` and `opened_source` do.
    """
    if source == "none":
        return []
    if source == "sample":
        return [_question(found) for found in sample_questions.questions()]
    with opened_source(source, {}, inputs, "benchmark_models") as path:
        return read_questions(path)


def read_questions(path: Path) -> list[Question]:
    """Read one question per line; lines with white space alone and further fields are left out.

    Raises InputError that lists every mistake with its line.
    """
    questions, problems = [], []
    for number, line in enumerate(read_text(path, WANTED).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON ({error})"
            problems.append(f"line {number}: {reason}")
            continue
        faults = [f"line {number}{fault}" for fault in _faults(found)]
        problems += faults
        if not faults:
            questions.append(_question(found))
    if problems:
        raise InputError(
            f"{path} has {len(problems)} lines or fields that cannot be used; correct them or leave the lines out:"
            + bullets(problems, SHOWN_PROBLEMS)
        )
    if not questions:
        raise InputError(f"{path} holds no questions, wanted {WANTED}")
    return questions


def _question(found: dict[str, Any]) -> Question:
    return Question(
        question=found["question"],
        choices=found["choices"],
        answer=found["answer"],
        subject=found.get("subject", ""),
    )


def _faults(found: Any) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f": is a {type(found).__name__}, expected an object"
        return
    yield from (f", question: {fault}" for fault in _text_faults(found, "question"))
    if "subject" in found:
        yield from (f", subject: {fault}" for fault in _text_faults(found, "subject"))
    choices = found.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        shown = "is missing" if "choices" not in found else "is no list of two or more"
        yield f", choices: {shown}, expected two or more texts"
        return
    for index in range(len(choices)):
        yield from (f", choice {index}: {fault}" for fault in _text_faults(choices, index))
    if any(choices.count(choice) > 1 for choice in choices):
        yield ", choices: two are the same, expected different texts"
    answer = found.get("answer")
    if type(answer) is not int or not 0 <= answer < len(choices):  # True is an int too
        shown = f"got {json.dumps(answer)[:20]}" if "answer" in found else "is missing"
        yield f", answer: {shown}, expected the number of the right choice, 0 to {len(choices) - 1} (0 is the first)"


def _text_faults(holder: Any, key: str | int) -> Iterator[str]:
    if isinstance(holder, dict) and key not in holder:
        yield "is missing"
    elif not isinstance(holder[key], str):
        yield f"is a {type(holder[key]).__name__}, expected text"
    elif SURROGATE.search(holder[key]):
        yield "holds half a character (a lone surrogate, \\ud800 to \\udfff)"
    elif not holder[key].strip():
        yield "is empty, expected text"
