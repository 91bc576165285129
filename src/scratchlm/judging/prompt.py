"""What a judge is asked and how its answer is read: the book's prompt, a rubric, and a question about a pair."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any, Literal, NamedTuple

from scratchlm.assistant.instructions import Entry, format_task
from scratchlm.files.text import one_line
from scratchlm.params.choices import PromptName

Status = Literal["ok", "empty", "equal", "parse_error", "out_of_range", "truncated", "http_error"]
UNANSWERED: Status = "http_error"  # the judge's server gave no answer, or was gone before it was asked

SCORES = 0, 100  # from the lowest to the highest
LEVELS = 1, 5  # the scores 0, 25, 50, 75, 100
CODE_LENGTH = 8  # hexadecimal digits
MAX_REASON_CHARS = 1000  # a judge that does not stop can give a book of them
MAX_NUMBER_CHARS = 40  # shown of what should be a score, a level or a verdict
PREFERENCES = {"A": 100.0, "B": 0.0, "TIE": 50.0}  # the scores of answer A

# What the server is asked to keep to: the reason comes first, so that the level follows from it.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "level": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
    "required": ["reason", "level"],
    "additionalProperties": False,
}

# The same of a pair.
PAIR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}

NUMBER = r"[+-]?\d+(?:\.\d+)?"
SCORE_SCALE = re.compile(r"/\s*100\b|\bout of 100\b|\b0\s*(?:to|-)\s*100\b", re.IGNORECASE)
LEVEL_SCALE = re.compile(r"/\s*5\b|\bout of (?:5|five)\b|\b(?:from\s+)?1\s*(?:to|[-\u2013])\s*5\b", re.IGNORECASE)
# "level: 4", "**Level** = 4", '"level": "4"', "the level is 4", and both ends of "level 3-4"; not "score: 4/10".
NAMED_LEVEL = re.compile(
    rf"\b(?:level|score|grade|rating)\b\W{{0,6}}?(?:(?:is|of|would be)\b\W{{0,4}}?)?({NUMBER})"
    rf"(?![\d.]*\s*(?:/|out of\b))(?:\s*(?:[-\u2013]|to|or)\s*({NUMBER}))?",
    re.IGNORECASE,
)
LONE_NUMBER = re.compile(rf"\W*?({NUMBER})\W*")
LONE_VERDICT = re.compile(r"\W*(?:answer\W*)?(a|b|tie)\W*", re.IGNORECASE)
# "Verdict: A", "**Verdict** is answer B.", "'verdict': 'A'", "the verdict is a tie"; not "verdict: a good answer",
# "Verdict: A or B", "Verdict: A is worse".
NAMED_VERDICT = re.compile(
    r"\b(?i:verdict)\b\W{0,6}(?:(?i:is|answer)\b\W{0,4}){0,2}(?:(?i:an?)\s+)?([AB]|(?i:tie))"
    r"(?=[.;!\"'`*)\]}]|\s*(?:\n|$)|\s+is better\b)"
)


class Reading(NamedTuple):
    """What a parser makes of a judge's words: with status "ok" a score from 0 to 100, else one line that says why."""

    status: Status
    score: float | None
    reason: str


@dataclass(frozen=True)
class JudgePrompt:
    """A question to a judge and the reading of its answer, both without side effects."""

    name: PromptName | Literal["pairwise"]
    schema: dict[str, Any] | None  # JSON schema that the server is asked to keep to, None for free text
    reminder: str  # the line that is added when a first answer could not be read
    render: Callable[[Entry, str, str | None], str]  # entry, response, in a pair the second one -> the prompt
    parse: Callable[[str, bool], Reading]  # the judge's words, whether to read them leniently -> the reading


def load_prompt(name: PromptName | Literal["pairwise"]) -> JudgePrompt:
    """Read a prompt's template from the file of its name."""
    text = files("scratchlm.judging").joinpath(f"prompts/{name}.txt").read_text(encoding="utf-8")
    template = Template(text.removesuffix("\n"))  # filled in one pass: a response that holds "$output" stays as it is

    def render_book(entry: Entry, response: str, other: str | None = None) -> str:
        # The book's judge is shown the book's style, in whatever style the model was asked.
        return template.substitute(prompt=format_task(entry, "alpaca"), output=entry["output"], response=response)

    def render_tagged(entry: Entry, response: str, other: str | None = None) -> str:
        responses = (response,) if other is None else (response, other)
        code = tag_code((entry["instruction"], entry["input"], entry["output"], *responses))
        return template.substitute(entry, reference=entry["output"], response=response, other=other, code=code)

    if name == "book":  # whose judge is free to ramble
        reminder = "Respond with one integer from 0 to 100 and nothing else."
        return JudgePrompt(name, None, reminder, render_book, parse_score)
    reminder = 'Answer with the JSON object alone: {"reason": "<one or two sentences>", '
    if name == "pairwise":
        return JudgePrompt(name, PAIR_SCHEMA, reminder + '"verdict": "<A, B or tie>"}', render_tagged, parse_verdict)
    return JudgePrompt(name, SCHEMA, reminder + '"level": <1 to 5>}', render_tagged, parse_level)


def tag_code(parts: tuple[str, ...]) -> str:
    """Eight hexadecimal digits that stand in none of `parts`, the same for the same parts.

    The tags carry them, so that no response can close its own section.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    while any(digest[:CODE_LENGTH] in part for part in parts):
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return digest[:CODE_LENGTH]


def parse_score(raw: str, leniently: bool = False) -> Reading:
    """Read the score from what the book's judge said: the one number there, whatever stands around it.

    The scale itself ("/100", "out of 100", "0 to 100") does not count. Several different numbers are a
    parse_error: which of them is the score would be a guess. There is no format to be lenient about.

    >>> parse_score('The score is "85" out of 100.').score
    85.0
    >>> parse_score("150")
    Reading(status='out_of_range', score=None, reason='150 is not from 0 to 100')
    >>> parse_score("2 of 3 facts are right: 60").reason
    'several numbers in the answer: 2, 3, 60'
    """
    numbers = re.findall(NUMBER, SCORE_SCALE.sub("", raw)) or re.findall(NUMBER, raw)
    return _read_only(numbers, "number", SCORES)


def parse_level(raw: str, leniently: bool = False) -> Reading:
    r"""Read the level from the JSON object in what the rubric's judge said, whatever stands around it, as a score.

    Levels 1 to 5 become 0, 25, 50, 75 and 100. A level may be a string; objects with different levels are a
    parse_error, because which of them counts would be a guess. Where there is no such object, one level in prose
    is `leniently` taken: a number after a word such as "level", or one that is all there is.

    >>> parse_level('{"reason": "The capital is right.", "level": 5}')
    Reading(status='ok', score=100.0, reason='The capital is right.')
    >>> parse_level('Sure!\n```json\n{"reason": "Half of it.", "level": "3"}\n```').score
    50.0
    >>> parse_level('{"reason": "Very good.", "level": 7}')
    Reading(status='out_of_range', score=None, reason='level 7 is not from 1 to 5')
    >>> parse_level("Level: 4")
    Reading(status='parse_error', score=None, reason='no JSON object with a level')
    >>> parse_level("I would say **Level: 4**, a small gap.", leniently=True)
    Reading(status='ok', score=75.0, reason='')
    >>> parse_level('{"reason": "Never closed, "level": 2', leniently=True).score
    25.0
    >>> parse_level("level 3 or 4", leniently=True).reason
    'several levels in the answer: 3, 4'
    """
    found = list(_objects_with("level", raw))
    if found:
        readings = [_read(fields["level"], "level", LEVELS, fields.get("reason")) for fields in found]
        if len({reading[:2] for reading in readings}) > 1:
            return _refuse([one_line(fields["level"], MAX_NUMBER_CHARS) for fields in found], "level")
        return readings[-1]
    if not leniently:
        return Reading("parse_error", None, "no JSON object with a level")
    text = LEVEL_SCALE.sub("", raw)
    named = [number for pair in NAMED_LEVEL.findall(text) for number in pair if number]
    alone = LONE_NUMBER.fullmatch(text)
    return _read_only(named or ([alone[1]] if alone else []), "level", LEVELS)


def parse_verdict(raw: str, leniently: bool = False) -> Reading:
    r"""Read which of two answers is better from the JSON object in what a judge said, as the score of answer A.

    "A" becomes 100, "B" 0 and "tie" 50, in capitals or not. Objects with different verdicts are a parse_error, because
    which of them counts would be a guess. Where there is no such object, one verdict in prose is `leniently` taken.

    >>> parse_verdict('Sure!\n{"reason": "B has the wrong capital.", "verdict": "a"}')
    Reading(status='ok', score=100.0, reason='B has the wrong capital.')
    >>> parse_verdict('{"reason": "Both are right.", "verdict": "tie"}').score
    50.0
    >>> parse_verdict('{"verdict": "C"}').reason
    'verdict C is not A, B or tie'
    >>> parse_verdict("**Verdict:** Answer B").reason
    'no JSON object with a verdict'
    >>> parse_verdict("**Verdict:** Answer B", leniently=True).score
    0.0
    >>> parse_verdict('{"verdict": "A"} or rather {"verdict": "B"}').reason
    'several verdicts in the answer: A, B'
    """
    found = list(_objects_with("verdict", raw))
    if found:
        said = [one_line(fields["verdict"], MAX_NUMBER_CHARS) for fields in found]
    elif leniently:
        said = NAMED_VERDICT.findall(raw) or ([raw] if LONE_VERDICT.fullmatch(raw) else [])
    else:
        return Reading("parse_error", None, "no JSON object with a verdict")
    verdicts = [match[1].upper() if (match := LONE_VERDICT.fullmatch(text)) else text for text in said]
    if len(set(verdicts)) != 1:
        return _refuse(list(dict.fromkeys(verdicts)), "verdict")
    if verdicts[0] not in PREFERENCES:
        return Reading("parse_error", None, f"verdict {verdicts[0]} is not A, B or tie")
    return Reading("ok", PREFERENCES[verdicts[0]], _shown_reason(found[-1].get("reason") if found else ""))


def _objects_with(name: str, raw: str) -> Iterator[dict[str, Any]]:
    """Yield every JSON object with a field of that name that stands in `raw`, in order, wherever it begins."""
    decoder = json.JSONDecoder(strict=False)  # models put line breaks into strings
    start = raw.find("{")
    while start != -1:
        try:
            found, end = decoder.raw_decode(raw, start)
        except (ValueError, RecursionError):
            found, end = {}, start + 1
        fields = {key.lower(): value for key, value in found.items()}
        if name in fields:
            yield fields
        else:
            end = start + 1  # it may hold one
        start = raw.find("{", end)


def _read_only(numbers: list[str], what: str, ends: tuple[int, int]) -> Reading:
    """Read the one number there; none, or different ones, are a parse_error."""
    different = list(dict.fromkeys(numbers))
    return _read(different[0], what, ends) if len(different) == 1 else _refuse(different, what)


def _refuse(numbers: list[str], what: str) -> Reading:
    several = f"several {what}s in the answer: {', '.join(numbers)}"
    return Reading("parse_error", None, one_line(several, MAX_REASON_CHARS) if numbers else f"no {what} in the answer")


def _read(number: Any, what: str, ends: tuple[int, int], reason: object = "") -> Reading:
    """Turn a number as the judge wrote it into a score; `reason` is its own."""
    shown = ("level " if what == "level" else "") + one_line(number, MAX_NUMBER_CHARS)
    try:
        value = math.nan if isinstance(number, bool) else float(number)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not value.is_integer():
        return Reading("parse_error", None, f"{shown} is not an integer")
    if not ends[0] <= value <= ends[1]:
        return Reading("out_of_range", None, f"{shown} is not from {ends[0]} to {ends[1]}")
    return Reading("ok", 100.0 * (value - ends[0]) / (ends[1] - ends[0]), _shown_reason(reason))


def _shown_reason(reason: object) -> str:
    return one_line(reason, MAX_REASON_CHARS) if isinstance(reason, str) else ""
