"""Collecting the instructions: the embedded sample, the book's, Stanford Alpaca's, or the user's own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scratchlm.download import fetch, fetch_url, from_root
from scratchlm.instructions import Entry, check_entries, read_entries
from scratchlm.sample import instructions as sample_instructions
from scratchlm.sources import ALPACA, INSTRUCTIONS

DOWNLOADS = {"book": INSTRUCTIONS, "alpaca": ALPACA}


def collect_entries(source: str) -> list[Entry]:
    """Return the entries of `source`: `sample`, `book`, `alpaca`, or a JSON file or URL, checked.

    Raises InputError as `read_entries` and `fetch` do.
    """
    if source == "sample":
        return check_entries(sample_instructions.entries(), "the sample")
    if source not in DOWNLOADS and "://" not in source:
        return read_entries(from_root(source))
    with tempfile.TemporaryDirectory() as folder:
        if source in DOWNLOADS:
            return read_entries(fetch(DOWNLOADS[source], Path(folder) / DOWNLOADS[source].name))
        return read_entries(fetch_url(source, Path(folder) / Path(source).name))
