"""SMS messages labelled ham or spam: read, balance, split, and keep as CSV (chapter 6)."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scratchlm.archive import extract_member
from scratchlm.errors import InputError
from scratchlm.files import write_text

LABELS = ("ham", "spam")  # the position is the class: ham 0, spam 1
UCI_MEMBER = "SMSSpamCollection"


def read_messages(path: Path) -> pd.DataFrame:
    """Read labelled messages from UCI's file, its zip, or a CSV file with the columns label and text.

    The same message may stand there often, as in UCI's file, but with one label.

    A name ending in .csv is read as CSV with a header (any case, further columns ignored), one ending in .zip
    as UCI's archive, any other as UCI's file: no header, label, tab, text. All are UTF-8.
    Returns columns Label ("ham" or "spam") and Text, in file order.
    Raises InputError for anything else, naming the line.

    Quotes are read as the book's `pd.read_csv(sep="\\t", header=None)` does: a text that begins with a quote
    runs to the next quote. In UCI's file 56 texts begin with one, and that on line 5,082 is closed on line
    5,084 only: so 5,574 lines (4,827 ham) become the book's 5,572 rows (4,825 ham).
    """
    is_csv = path.suffix.lower() == ".csv"
    records = _read_records(path, _read_text(path), delimiter="," if is_csv else "\t")
    columns = ["label", "text"]
    if is_csv:
        _, header = next(records, (1, []))
        columns = [name.strip().lower() for name in header]
        if "label" not in columns or "text" not in columns:
            raise InputError(f"{path}, line 1: got columns {columns}, wanted label and text, comma-separated")
        if len(set(columns)) < len(columns):
            raise InputError(f"{path}, line 1: got columns {columns}, wanted each name once")
    rows: list[tuple[str, str]] = []
    seen: dict[str, tuple[str, int]] = {}
    for line, fields in records:
        if len(fields) != len(columns):
            raise InputError(f"{path}, line {line}: got {len(fields)} fields, wanted {len(columns)}: {columns}")
        row = dict(zip(columns, fields, strict=True))
        row["label"] = row["label"].strip().lower()
        if row["label"] not in LABELS:
            raise InputError(f"{path}, line {line}: got label {row['label']!r}, wanted 'ham' or 'spam'")
        if not row["text"].strip():
            raise InputError(f"{path}, line {line}: got an empty text, wanted a message")
        label, first_line = seen.setdefault(row["text"], (row["label"], line))
        if label != row["label"]:
            raise InputError(
                f"{path}, line {line}: got {row['label']} for a text that is {label} on line {first_line}: no model "
                "can learn both; leave one of them out"
            )
        rows.append((row["label"], row["text"]))
    if not rows:
        raise InputError(f"{path} holds no messages, wanted rows of a label (ham or spam) and a text")
    messages = pd.DataFrame(rows, columns=["Label", "Text"])
    if messages["Label"].nunique() < len(LABELS):
        raise InputError(f"{path}: all {len(rows)} messages are {rows[0][0]}, wanted both ham and spam")
    return messages


def _read_records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's first line number and its fields; empty lines are left out."""
    # The empty line at the end belongs to a record only if that record's quote was never closed.
    lines = [*io.StringIO(text, newline=""), ""]
    reader = csv.reader(lines, delimiter=delimiter)
    line = 1
    try:
        for fields in reader:
            if fields and reader.line_num == len(lines):
                raise InputError(f"{path}, line {line}: the quote that opens a text is never closed")
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not readable as CSV: {error}") from error


def _read_text(path: Path) -> str:
    if path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            return _read_text(extract_member(path, UCI_MEMBER, Path(folder) / UCI_MEMBER))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): wanted a file of labelled messages") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def balance(messages: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Undersample the larger class to the size of the smaller, ham first, labels as 0 (ham) and 1 (spam).

    `messages` as `read_messages` returns them. Returns columns Label (int64) and Text.
    With spam the smaller class these are the book's rows in the book's order (section 6.2).
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
    """Shuffle and cut into training, validation and test messages, the rest being the test (section 6.2).

    Raises InputError where a part would be empty.
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
    """Write columns Label and Text as CSV, atomically, every text so that `read_split_csv` gives it back."""
    content = io.StringIO(newline="")
    # Every text is quoted: csv takes no notice of a lone carriage return, which would end the row.
    writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["Label", "Text"])
    writer.writerows(zip(messages["Label"], messages["Text"], strict=True))
    write_text(path, content.getvalue())


def read_split_csv(path: Path) -> pd.DataFrame:
    """Read what `write_split_csv` wrote: columns Label (int64, 0 or 1) and Text.

    Raises InputError naming the row (header not counted) where columns or labels are others.
    """
    try:
        rows = list(csv.reader(io.StringIO(_read_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path}: not readable as CSV: {error}: run prepare_sms again") from None
    if not rows or rows[0] != ["Label", "Text"]:
        raise InputError(
            f"{path}: the columns are {rows[0] if rows else []}, wanted Label and Text: run prepare_sms again"
        )
    for number, row in enumerate(rows[1:], 1):
        if len(row) != 2 or row[0] not in ("0", "1"):
            raise InputError(f"{path}, row {number}: got {row}, wanted 0 or 1 and a text: run prepare_sms again")
    if len(rows) == 1:
        raise InputError(f"{path} holds no messages: run prepare_sms again")
    return pd.DataFrame({"Label": [int(row[0]) for row in rows[1:]], "Text": [row[1] for row in rows[1:]]})
