"""Preference pairs (chapter 7's bonus): two answers to one instruction, of which one was chosen and one rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchlm.assistant.instructions import FIELDS, Entry, check_texts, wanted
from scratchlm.errors import InputError
from scratchlm.files.text import read_json

PAIR_FIELDS = (*FIELDS, "chosen", "rejected")


class Pair(Entry):
    """An instruction with its answer, and two further answers; `chosen` may be the same as `output`."""

    chosen: str  # the answer to prefer; never empty
    rejected: str  # the answer to avoid; never empty, and never the chosen one


def read_pairs(path: Path) -> list[Pair]:
    """Read a JSON list of pairs; raise InputError that names the index and field of each mistake."""
    return check_pairs(read_json(path, wanted(PAIR_FIELDS)), str(path))


def check_pairs(found: Any, name: str) -> list[Pair]:
    """Check loaded JSON pair by pair; further fields are dropped. Chosen and rejected may still be the same."""
    return [
        Pair(
            instruction=pair["instruction"],
            input=pair["input"],
            output=pair["output"],
            chosen=pair["chosen"],
            rejected=pair["rejected"],
        )
        for pair in check_texts(found, name, PAIR_FIELDS)
    ]


def drop_equal_answers(pairs: list[Pair], part: str) -> list[Pair]:
    """Return the pairs whose two answers differ: two equal ones say nothing about what is preferred.

    White space around an answer makes no difference. Raises InputError if no pair is left in this `part`.
    """
    differing = [pair for pair in pairs if pair["chosen"].strip() != pair["rejected"].strip()]
    if not differing:
        raise InputError(
            f"chosen and rejected are the same in all {len(pairs):,} pairs of the {part} set: give pairs whose answers "
            "differ"
        )
    return differing
