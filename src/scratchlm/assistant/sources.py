"""Collecting the instructions: the embedded sample, the book's, Stanford Alpaca's, or the user's own."""

from __future__ import annotations

from pathlib import Path

from scratchlm.assistant.instructions import Entry, check_entries, read_entries
from scratchlm.download.fetch import opened_source
from scratchlm.download.sources import ALPACA, INSTRUCTIONS
from scratchlm.sample import instructions as sample_instructions

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
