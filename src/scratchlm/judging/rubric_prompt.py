"""A judge prompt with five anchored levels, and its answer: a JSON object that gives the reason, then the level."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from string import Template
from typing import Any

from scratchlm.judging.reading import Reading

LEVELS = (1, 2, 3, 4, 5)  # the scores 0, 25, 50, 75, 100
CODE_LENGTH = 8  # hexadecimal digits

# What the server is asked to keep to: the reason comes first, so that the level follows from it.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "level": {"type": "integer", "enum": list(LEVELS)}},
    "required": ["reason", "level"],
    "additionalProperties": False,
}

SCALE = re.compile(r"/\s*5\b|\bout of (?:5|five)\b|\b(?:from\s+)?1\s*(?:to|[-\u2013])\s*5\b", re.IGNORECASE)
NUMBER = r"[+-]?\d+(?:\.\d+)?"
# "level: 4", "**Level** = 4", '"level": "4"', "the level is 4", and both ends of "level 3-4"; not "score: 4/10".
NAMED_LEVEL = re.compile(
    rf"\b(?:level|score|grade|rating)\b\W{{0,6}}?(?:(?:is|of|would be)\b\W{{0,4}}?)?({NUMBER})"
    rf"(?![\d.]*\s*(?:/|out of\b))(?:\s*(?:[-\u2013]|to|or)\s*({NUMBER}))?",
    re.IGNORECASE,
)
LONE_NUMBER = re.compile(rf"\W*?({NUMBER})\W*")


def render(template: Template, instruction: str, input: str, reference: str, response: str) -> str:
    """Fill the prompt in, every part between tags that none of the parts can hold.

    The tags carry a code made from the parts themselves, so that the same answer gives the same prompt and
    no answer can close its own section.
    """
    parts = (instruction, input, reference, response)
    code = tag_code(parts)
    # One pass of a template: a response that holds "$reference" stays as it is.
    return template.substitute(code=code, instruction=instruction, input=input, reference=reference, response=response)


def tag_code(parts: tuple[str, ...]) -> str:
    """Eight hexadecimal digits that stand in none of `parts`, the same for the same parts."""
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    while any(digest[:CODE_LENGTH] in part for part in parts):
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return digest[:CODE_LENGTH]


def parse(raw: str) -> Reading:
    r"""Read the level from the JSON object in what the judge said, whatever stands around it, as a score.

    Levels 1 to 5 become 0, 25, 50, 75 and 100. A level may be a string; objects with different levels are a
    parse_error, because which of them counts would be a guess.

    >>> parse('{"reason": "The capital is right.", "level": 5}')
    Reading(status='ok', score=100.0, reason='The capital is right.')
    >>> parse('Sure!\n```json\n{"reason": "Half of it.", "level": "3"}\n```').score
    50.0
    >>> parse('{"reason": "Very good.", "level": 7}')
    Reading(status='out_of_range', score=None, reason='level 7 is not from 1 to 5')
    >>> parse('{"reason": "Between two.", "level": 4.5}')
    Reading(status='parse_error', score=None, reason='level 4.5 is not an integer')
    >>> parse("Level: 4")
    Reading(status='parse_error', score=None, reason='no JSON object with a level')
    """
    found = list(_objects_with_level(raw))
    if not found:
        return Reading("parse_error", None, "no JSON object with a level")
    readings = [_read_level(fields["level"], _one_line(fields.get("reason"))) for fields in found]
    if len({(reading.status, reading.score) for reading in readings}) > 1:
        levels = ", ".join(_shown(fields["level"]) for fields in found)
        return Reading("parse_error", None, f"several levels in the answer: {levels}")
    return readings[-1]


def parse_leniently(raw: str) -> Reading:
    """Read as `parse` does and, where there is no JSON object with a level, look for one level in prose.

    A number counts where a word such as "level" stands before it, or where it is all there is.

    >>> parse_leniently("I would say **Level: 4**, a small gap.")
    Reading(status='ok', score=75.0, reason='')
    >>> parse_leniently('{"reason": "Never closed, "level": 2').score
    25.0
    >>> parse_leniently("4/5").score
    75.0
    >>> parse_leniently("level 3 or 4").reason
    'several levels in the answer: 3, 4'
    >>> parse_leniently("3 of 4 facts are right.").reason
    'no level in the answer'
    """
    if any(_objects_with_level(raw)):
        return parse(raw)
    text = SCALE.sub("", raw)
    named = [number for pair in NAMED_LEVEL.findall(text) for number in pair if number]
    alone = LONE_NUMBER.fullmatch(text)
    numbers = list(dict.fromkeys(named or ([alone[1]] if alone else [])))
    if not numbers:
        return Reading("parse_error", None, "no level in the answer")
    if len(numbers) > 1:
        return Reading("parse_error", None, f"several levels in the answer: {', '.join(numbers)}")
    return _read_level(numbers[0], "")


def _objects_with_level(raw: str) -> Iterator[dict[str, Any]]:
    """Yield every JSON object with a level that stands in `raw`, in order, wherever it begins."""
    # Not strict: models put line breaks into strings.
    decoder = json.JSONDecoder(strict=False)
    start = raw.find("{")
    while start != -1:
        try:
            found, end = decoder.raw_decode(raw, start)
        except (ValueError, RecursionError):
            found, end = {}, start + 1
        fields = {key.lower(): value for key, value in found.items()}
        if "level" in fields:
            yield fields
        else:
            end = start + 1  # it may hold one
        start = raw.find("{", end)


def _read_level(level: Any, reason: str) -> Reading:
    """Turn a level as the judge wrote it into a score; `reason` is its own."""
    try:
        number = math.nan if isinstance(level, bool) else float(level)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number.is_integer():
        return Reading("parse_error", None, f"level {_shown(level)} is not an integer")
    if number not in LEVELS:
        return Reading("out_of_range", None, f"level {_shown(level)} is not from 1 to 5")
    return Reading("ok", 100.0 * (number - LEVELS[0]) / (LEVELS[-1] - LEVELS[0]), reason)


def _shown(level: Any) -> str:
    return _one_line(str(level))[:40]


def _one_line(text: Any) -> str:
    """One line of valid Unicode: JSON can hold half a character, a file of verdicts cannot."""
    return " ".join(text.split()).encode("utf-8", "replace").decode() if isinstance(text, str) else ""
