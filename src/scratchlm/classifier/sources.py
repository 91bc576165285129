"""Collecting the labelled messages: the embedded sample, the UCI collection, or a table of the user's own."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scratchlm.classifier.labels import clean_label, label_problem, number_problem, rare_label_problem
from scratchlm.classifier.messages import WANTED
from scratchlm.download.archive import extract_member
from scratchlm.download.fetch import opened_source
from scratchlm.download.sources import SMS_SPAM
from scratchlm.errors import InputError
from scratchlm.files.text import read_text
from scratchlm.sample import sms as sample_sms
from scratchlm.sample import topics as sample_topics

SAMPLES = {"sample": sample_sms.messages, "sample_topics": sample_topics.messages}


def collect_messages(source: str, inputs: Path) -> pd.DataFrame:
    """Return the messages of `source`: a name in `SAMPLES`, `uci`, or a file or URL; columns Label and Text.

    `inputs` is the folder in which DVC tracks own files. Raises InputError as `read_messages` and `opened_source` do.
    """
    if source in SAMPLES:
        return pd.DataFrame(SAMPLES[source](), columns=["Label", "Text"])
    with opened_source(source, {"uci": SMS_SPAM}, inputs, "prepare_sms") as path:
        return read_messages(path)


def read_messages(path: Path) -> pd.DataFrame:
    """Read labelled messages from UCI's file, its zip, or a CSV file with the columns label and text.

    A message may occur often, as in UCI's file, but always with the same label.

    A name ending in .csv is read as CSV with a header (any case, further columns ignored), one ending in .zip
    as UCI's archive, any other as UCI's file: no header, label, tab, text. All are UTF-8.
    Returns columns Label (its name in lower case, without space around it) and Text, in file order.
    Raises InputError for anything else, naming the line, and for labels that are too many, too few or too rare.

    Quotes are read as the book's `pd.read_csv(sep="\\t", header=None)` does: a text that begins with a quote
    runs to the next quote. In UCI's file 56 texts begin with one, and the one on line 5,082 is closed only on
    line 5,084: so 5,574 lines (4,827 ham) become the book's 5,572 rows (4,825 ham).
    """
    is_csv = path.suffix.lower() == ".csv"
    delimiter, separator = (",", "comma") if is_csv else ("\t", "tab")
    records = _read_records(path, _read_table(path), delimiter)
    columns = ["label", "text"]
    if is_csv:
        _, header = next(records, (1, []))
        columns = [name.strip().lower() for name in header]
        if "label" not in columns or "text" not in columns:
            raise InputError(
                f"{path}, line 1: got columns {columns}, wanted label and text, comma-separated: name them so in the "
                "first line"
            )
        if len(set(columns)) < len(columns):
            raise InputError(f"{path}, line 1: got columns {columns}, wanted each name once: rename or remove one")
    rows: list[tuple[str, str]] = []
    seen: dict[str, tuple[str, int]] = {}
    first_lines: dict[str, int] = {}  # where a label occurs first
    for line, fields in records:
        if len(fields) != len(columns):
            raise InputError(
                f"{path}, line {line}: got {len(fields)} fields, wanted {len(columns)}, {separator}-separated: "
                f"put a text that holds a {separator} into quotes"
            )
        row = dict(zip(columns, fields, strict=True))
        row["label"] = clean_label(row["label"])
        if problem := label_problem(row["label"]):
            raise InputError(f"{path}, line {line}: {problem}: correct it or leave the line out")
        first_lines.setdefault(row["label"], line)
        if not row["text"].strip():
            raise InputError(f"{path}, line {line}: got an empty text, wanted a message: leave the line out")
        label, first_line = seen.setdefault(row["text"], (row["label"], line))
        if label != row["label"]:
            raise InputError(
                f"{path}, line {line}: got {row['label']} for a text that is {label} on line {first_line}: no model "
                "can learn both; leave one of them out"
            )
        rows.append((row["label"], row["text"]))
    if not rows:
        raise InputError(f"{path} holds no messages, wanted rows of a label and a text")
    counts = Counter(label for label, _ in rows)
    if problem := number_problem(counts):
        raise InputError(f"{path}: {problem}")
    if rare := rare_label_problem(counts):
        label, problem = rare
        raise InputError(f"{path}, line {first_lines[label]}: {problem}")
    return pd.DataFrame(rows, columns=["Label", "Text"])


def _read_records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's first line number and its fields; empty lines are left out."""
    # The empty line at the end belongs to a record only if that record's quote was never closed.
    lines = [*io.StringIO(text, newline=""), ""]
    reader = csv.reader(lines, delimiter=delimiter)
    line = 1
    try:
        for fields in reader:
            if fields and reader.line_num == len(lines):
                raise InputError(
                    f"{path}, line {line}: the quote that opens a text is never closed: close it, or take it out"
                )
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not readable as CSV: {error}") from error


def _read_table(path: Path) -> str:
    if path.suffix.lower() != ".zip":
        return read_text(path, WANTED)
    with tempfile.TemporaryDirectory() as folder:
        return read_text(extract_member(path, SMS_SPAM.name, Path(folder) / SMS_SPAM.name), WANTED)
