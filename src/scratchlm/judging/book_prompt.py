"""The book's judge prompt (chapter 7), word for word, and its answer read as an integer from 0 to 100."""

from __future__ import annotations

import re
from string import Template

from scratchlm.judging.reading import Reading

SCALE = re.compile(r"/\s*100\b|\bout of 100\b|\b0\s*(?:to|-)\s*100\b", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def render(template: Template, task: str, output: str, response: str) -> str:
    """Fill the book's prompt in: the formatted instruction and input, the reference, the answer to score."""
    # One pass of a template: an answer that holds braces or "$output" stays as it is.
    return template.substitute(prompt=task, output=output, response=response)


def parse(raw: str) -> Reading:
    """Read the score from what the judge said: the one number there, whatever stands around it.

    The scale itself ("/100", "out of 100", "0 to 100") does not count. Several different numbers are a
    parse_error: which of them is the score would be a guess.

    >>> parse("85")
    Reading(status='ok', score=85.0, reason='')
    >>> parse('The score is "85" out of 100.').score
    85.0
    >>> parse("150")
    Reading(status='out_of_range', score=None, reason='150 is not from 0 to 100')
    >>> parse("Great answer!")
    Reading(status='parse_error', score=None, reason='no number in the answer')
    >>> parse("2 of 3 facts are right: 60").reason
    'several numbers in the answer: 2, 3, 60'
    >>> parse("72.5").reason
    '72.5 is not an integer'
    """
    numbers = list(dict.fromkeys(NUMBER.findall(SCALE.sub("", raw)) or NUMBER.findall(raw)))
    if not numbers:
        return Reading("parse_error", None, "no number in the answer")
    if len(numbers) > 1:
        return Reading("parse_error", None, f"several numbers in the answer: {', '.join(numbers)}")
    score = float(numbers[0])
    if not score.is_integer():
        return Reading("parse_error", None, f"{numbers[0]} is not an integer")
    if not 0 <= score <= 100:
        return Reading("out_of_range", None, f"{numbers[0]} is not from 0 to 100")
    return Reading("ok", score, "")
