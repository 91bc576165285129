"""Labelled messages, as SMS that are ham or spam: balancing, splitting, and CSV files (chapter 6)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_text
from scratchlm.files.text import read_text
from scratchlm.params.choices import Split

WANTED = "a table of labelled messages"
SHUFFLES: dict[Split, int] = {"book": 1, "bonus": 2}


def balance(messages: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Undersample every label to the size of the smallest one; labels in the order of their names.

    `messages` as `collect_messages` returns them. If spam is the smaller of ham and spam, these are the book's rows in
    the book's order (section 6.2).
    """
    parts = dict(iter(messages.groupby("Label")))
    # The smallest keeps its order, and of equally small ones the last: the book draws ham, then appends spam as it is.
    smallest = min(reversed(parts), key=lambda label: len(parts[label]))
    size = len(parts[smallest])
    return pd.concat(
        part if label == smallest else part.sample(size, random_state=seed) for label, part in parts.items()
    )


def split(
    messages: pd.DataFrame, train_fraction: float, validation_fraction: float, seed: int, kind: Split = "book"
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Shuffle and cut into training, validation and test messages, the rest being the test set (section 6.2).

    With `kind` bonus they are shuffled twice, as the script of the published variants does. Raises InputError if a
    part would be empty, or if no training message has one of the labels.
    """
    shuffled = messages
    for _ in range(SHUFFLES[kind]):
        shuffled = shuffled.sample(frac=1, random_state=seed).reset_index(drop=True)
    train_end = int(len(shuffled) * train_fraction)
    validation_end = train_end + int(len(shuffled) * validation_fraction)
    parts = shuffled[:train_end], shuffled[train_end:validation_end], shuffled[validation_end:]
    sizes = [len(part) for part in parts]
    if 0 in sizes:
        raise InputError(
            f"{len(messages)} messages split by {train_fraction} and {validation_fraction} give"
            f" {sizes[0]}, {sizes[1]} and {sizes[2]} for training, validation and test,"
            " wanted at least one in each: give more messages or other fractions"
        )
    if missing := sorted({*messages["Label"]} - {*parts[0]["Label"]}):
        raise InputError(
            f"none of the {sizes[0]} training messages has the label {missing[0]!r}: give more messages, or a larger "
            "sms.train_fraction"
        )
    return parts


def number_labels(messages: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Replace each name in the column Label by its position in `labels`, int64."""
    return messages.assign(Label=messages["Label"].map({name: number for number, name in enumerate(labels)}))


def write_split_csv(path: Path, messages: pd.DataFrame) -> None:
    """Write columns Label and Text as CSV, atomically; `read_split_csv` returns every text unchanged."""
    content = io.StringIO(newline="")
    # Quote every text: csv leaves one with a lone carriage return unquoted, and a reader would end the row there.
    writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["Label", "Text"])
    writer.writerows(zip(messages["Label"], messages["Text"], strict=True))
    write_text(path, content.getvalue())


def read_split_csv(path: Path, n_labels: int) -> pd.DataFrame:
    """Read what `write_split_csv` wrote: columns Label (int64, less than `n_labels`) and Text.

    Raises OutputError for other columns or labels; it names the row, not counting the header.
    """
    numbers = {str(number): number for number in range(n_labels)}
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, WANTED, OutputError), newline="")))
    except csv.Error as error:
        raise OutputError(f"{path}: not readable as CSV: {error}") from None
    if not rows or rows[0] != ["Label", "Text"]:
        raise OutputError(f"{path}: the columns are {rows[0] if rows else []}, wanted Label and Text")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != 2 or row[0] not in numbers:
            raise OutputError(f"{path}, row {number}: got {row}, wanted a label from 0 to {n_labels - 1} and a text")
    if len(rows) == 1:
        raise OutputError(f"{path} holds no messages")
    return pd.DataFrame({"Label": [numbers[row[0]] for row in rows[1:]], "Text": [row[1] for row in rows[1:]]})
