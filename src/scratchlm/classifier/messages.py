"""SMS messages labelled ham or spam: balancing, splitting, and CSV files (chapter 6)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_text
from scratchlm.files.text import read_text

LABELS = ("ham", "spam")  # the position is the class: ham 0, spam 1
WANTED = "a table of labelled messages"


def balance(messages: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Undersample the larger class to the size of the smaller, ham first, labels as 0 (ham) and 1 (spam).

    `messages` as `collect_messages` returns them. Returns columns Label (int64) and Text.
    If spam is the smaller class, these are the book's rows in the book's order (section 6.2).
    """
    ham = messages[messages["Label"] == "ham"]
    spam = messages[messages["Label"] == "spam"]
    if len(ham) >= len(spam):
        ham = ham.sample(len(spam), random_state=seed)
    else:
        spam = spam.sample(len(ham), random_state=seed)
    balanced = pd.concat([ham, spam])
    balanced["Label"] = balanced["Label"].map({"ham": 0, "spam": 1}).astype("int64")
    return balanced


def split(
    messages: pd.DataFrame, train_fraction: float, validation_fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Shuffle and cut into training, validation and test messages, the rest being the test set (section 6.2).

    Raises InputError if a part would be empty, or if all training messages are of one class.
    """
    shuffled = messages.sample(frac=1, random_state=seed).reset_index(drop=True)
    train_end = int(len(shuffled) * train_fraction)
    validation_end = train_end + int(len(shuffled) * validation_fraction)
    parts = shuffled[:train_end], shuffled[train_end:validation_end], shuffled[validation_end:]
    sizes = [len(part) for part in parts]
    if 0 in sizes:
        raise InputError(
            f"{len(messages)} balanced messages split by {train_fraction} and {validation_fraction} give"
            f" {sizes[0]}, {sizes[1]} and {sizes[2]} for training, validation and test,"
            " wanted at least one in each: give more messages or other fractions"
        )
    if parts[0]["Label"].nunique() < len(LABELS):
        raise InputError(
            f"the {sizes[0]} training messages are all of one class: give more messages, or a larger sms.train_fraction"
        )
    return parts


def write_split_csv(path: Path, messages: pd.DataFrame) -> None:
    """Write columns Label and Text as CSV, atomically; `read_split_csv` returns every text unchanged."""
    content = io.StringIO(newline="")
    # Quote every text: csv leaves one with a lone carriage return unquoted, and a reader would end the row there.
    writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["Label", "Text"])
    writer.writerows(zip(messages["Label"], messages["Text"], strict=True))
    write_text(path, content.getvalue())


def read_split_csv(path: Path) -> pd.DataFrame:
    """Read what `write_split_csv` wrote: columns Label (int64, 0 or 1) and Text.

    Raises OutputError for other columns or labels; it names the row, not counting the header.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, WANTED, OutputError), newline="")))
    except csv.Error as error:
        raise OutputError(f"{path}: not readable as CSV: {error}") from None
    if not rows or rows[0] != ["Label", "Text"]:
        raise OutputError(f"{path}: the columns are {rows[0] if rows else []}, wanted Label and Text")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != 2 or row[0] not in ("0", "1"):
            raise OutputError(f"{path}, row {number}: got {row}, wanted 0 or 1 and a text")
    if len(rows) == 1:
        raise OutputError(f"{path} holds no messages")
    return pd.DataFrame({"Label": [int(row[0]) for row in rows[1:]], "Text": [row[1] for row in rows[1:]]})
