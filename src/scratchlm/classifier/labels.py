"""The names of the labels: which names are allowed, their order, and the file that keeps them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scratchlm.errors import OutputError
from scratchlm.files.atomic import write_json
from scratchlm.files.text import read_json, shorten

MAX_LABELS = 100  # more is most likely another column, such as an id
MAX_CHARACTERS = 50
MIN_MESSAGES = 3  # of each label: one for each split
LABELS = "labels.json"
SHOWN = 60  # characters of a wrong label


def clean_label(written: str) -> str:
    """Return the name of a label as it is kept: without space around it, and in lower case, as people mix cases."""
    return written.strip().lower()


def label_problem(name: Any) -> str | None:
    """Return what is wrong with the name of a label, or None; it is printed in one line with tabs between."""
    if isinstance(name, str) and name == clean_label(name) and name.isprintable() and 1 <= len(name) <= MAX_CHARACTERS:
        return None
    return f"got label {shorten(repr(name), SHOWN)}, wanted a name of 1 to {MAX_CHARACTERS} printable characters"


def number_problem(counts: Mapping[str, int]) -> str | None:
    """Return what is wrong with the number of labels, given the messages by label, or None."""
    if len(counts) > MAX_LABELS:
        return f"got {len(counts):,} labels, wanted 2 to {MAX_LABELS}: are these the labels, or something else?"
    if len(counts) < 2:
        (only,) = counts
        return f"all {counts[only]} messages are {only}, wanted at least two labels: add messages of another"
    return None


def rare_label_problem(counts: Mapping[str, int]) -> tuple[str, str] | None:
    """Return the first label with too few messages and what is wrong with it, or None; it may be a slip of the pen."""
    for name, count in counts.items():
        if count < MIN_MESSAGES:
            close = difflib.get_close_matches(name, [other for other in counts if other != name], n=1)
            return name, (
                f"got label {name!r} for {count} of {sum(counts.values()):,} messages, wanted at least {MIN_MESSAGES} "
                f"of each label: correct it{f' to {close[0]!r}' if close else ''}, leave it out, or add messages"
            )
    return None


def write_labels(folder: Path, labels: Sequence[str]) -> None:
    """Write the names beside the messages that have their positions as labels."""
    write_json(folder / LABELS, list(labels))


def read_labels(folder: Path) -> list[str]:
    """Read what `write_labels` wrote; raise OutputError for anything else."""
    path = folder / LABELS
    return checked_labels(read_json(path, "the names of the labels", OutputError), path)


def checked_labels(found: Any, path: Path) -> list[str]:
    """Return `found`, read from `path`, if it can be the names of a classifier's labels; raise OutputError if not."""
    if not isinstance(found, list) or not 2 <= len(found) <= MAX_LABELS:
        raise OutputError(f"{path}: got {shorten(repr(found), SHOWN)}, wanted a list of 2 to {MAX_LABELS} labels")
    for name in found:
        if problem := label_problem(name):
            raise OutputError(f"{path}: {problem}")
    if len(set(found)) < len(found):
        raise OutputError(f"{path}: got a label twice in {shorten(repr(found), SHOWN)}, wanted each once")
    return found
