"""Collecting instructions and preference pairs: the embedded sample's, the book's, Stanford Alpaca's, or the user's."""

from __future__ import annotations

from pathlib import Path

from scratchlm.assistant.instructions import Entry, check_entries, read_entries
from scratchlm.assistant.pairs import Pair, check_pairs, read_pairs
from scratchlm.download.fetch import opened_source
from scratchlm.download.sources import ALPACA, INSTRUCTIONS, PREFERENCES
from scratchlm.sample import instructions as sample_instructions
from scratchlm.sample import preferences as sample_preferences

DOWNLOADS = {"book": INSTRUCTIONS, "alpaca": ALPACA}


def collect_entries(source: str, inputs: Path) -> list[Entry]:
    """Return the entries of `source`: `sample`, `book`, `alpaca`, or a JSON file or URL, checked.

    Their output may be empty, as that of 28 entries of Stanford Alpaca's file is (stanford_alpaca, issue 265).
    `inputs` is the folder in which DVC tracks own files. Raises InputError as `read_entries` and `opened_source` do.
    """
    if source == "sample":
        return check_entries(sample_instructions.entries(), "the sample")
    with opened_source(source, DOWNLOADS, inputs, "prepare_instructions") as path:
        return read_entries(path, may_be_empty=("input", "output"))


def collect_pairs(source: str, inputs: Path) -> list[Pair]:
    """Return the pairs of `source`: `sample`, `book`, or a JSON file or URL, checked; otherwise as `collect_entries`.

    Their two answers may be the same, as those of 6 pairs of the book's are.
    """
    if source == "sample":
        return check_pairs(sample_preferences.pairs(), "the sample")
    with opened_source(source, {"book": PREFERENCES}, inputs, "prepare_preferences") as path:
        return read_pairs(path)
