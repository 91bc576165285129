"""Documents as rows of one file: JSON lines, also compressed by gzip, and Parquet; one row at a time is in memory."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from scratchlm.errors import InputError

COLUMN = "text"  # the key or column that holds the document; all others are left unread
JSON_SUFFIXES = (".jsonl", ".jsonl.gz")
PARQUET = ".parquet"
ROW_SUFFIXES = (*JSON_SUFFIXES, PARQUET)

MOST_LINE_BYTES = 1 << 28  # a small .gz can hold a line that no memory can
BATCH_BYTES = 1 << 24  # of a Parquet column, read at once
MOST_BATCH_ROWS = 1024  # repeated texts are stored once: the size of their column says little
READ_BYTES = 1 << 20  # without a buffer of its own, or with one ahead, a column of a whole row group is read at once
GZIP_MAGIC = b"\x1f\x8b"

WANTED_LINE = f'wanted an object with a string "{COLUMN}" on each line'


def has_rows(path: Path) -> bool:
    """Say by its name whether a file holds one document per row."""
    return path.name.lower().endswith(ROW_SUFFIXES)


def read_rows(path: Path, name: str, problem: type[InputError] = InputError) -> Iterator[str]:
    """Yield the text of each row; a text of white space only, or null, comes as "". Blank lines are no rows.

    Memory is needed for one line of at most 256 MiB, or for some 16 MiB of a Parquet file and its longest row.
    Raises `problem`, which calls the file `name` and says which line or row is wrong; and InputError for a Parquet
    file where pyarrow is not installed.
    """
    rows = _parquet_rows if path.name.lower().endswith(PARQUET) else _json_rows
    for place, text in rows(path, name, problem):
        if "\0" in text:
            raise problem(f"{name}, {place}: the text holds a zero byte")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                lone = ord(text[error.start])
                raise problem(f"{name}, {place}: the text holds half a character (\\u{lone:04x})") from None
        yield "" if text.isspace() else text


def _json_rows(path: Path, name: str, problem: type[InputError]) -> Iterator[tuple[str, str]]:
    compressed = path.name.lower().endswith(".gz")
    with gzip.open(path) if compressed else path.open("rb") as stream:
        for number, line in enumerate(_lines(stream, name, problem), start=1):
            if number == 1:
                if line.startswith(GZIP_MAGIC):
                    raise problem(
                        f"{name} is compressed twice by gzip: decompress it once"
                        if compressed
                        else f"{name} is compressed by gzip: let its name end with .jsonl.gz"
                    )
                line = line.removeprefix(codecs.BOM_UTF8)
            if line and not line.isspace():
                yield f"line {number}", _text_of_line(line, f"{name}, line {number}", problem)


def _lines(stream: BinaryIO | gzip.GzipFile, name: str, problem: type[InputError]) -> Iterator[bytes]:
    number = 1
    try:
        while line := stream.readline(MOST_LINE_BYTES + 1):
            if len(line) > MOST_LINE_BYTES:
                raise problem(
                    f"{name}, line {number} has more than {MOST_LINE_BYTES:,} bytes: split this document, or make it a "
                    "text file of its own"
                )
            yield line
            number += 1
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise problem(f"{name} is no whole gzip file (line {number}: {error}): get or make it again") from None


def _text_of_line(line: bytes, place: str, problem: type[InputError]) -> str:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise problem(f"{place}: byte {line[error.start]:#04x} is not UTF-8, {WANTED_LINE}, saved as UTF-8") from None
    except json.JSONDecodeError as error:
        raise problem(f"{place} is not valid JSON ({error.msg}, column {error.colno}), {WANTED_LINE}") from None
    except (ValueError, RecursionError):
        raise problem(f"{place} holds JSON that cannot be read (nested too deeply, or a very long number)") from None
    if not isinstance(row, dict):
        raise problem(f"{place} is no object, {WANTED_LINE}")
    if COLUMN not in row:
        raise problem(f'{place} has no "{COLUMN}", {WANTED_LINE}')
    text = "" if row[COLUMN] is None else row[COLUMN]
    if not isinstance(text, str):
        raise problem(f'{place}: "{COLUMN}" is no string, {WANTED_LINE}')
    return text


def _parquet_rows(path: Path, name: str, problem: type[InputError]) -> Iterator[tuple[str, str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{name} needs pyarrow, which is not installed: run `pip install -c constraints.txt -e '.[parquet]'` in "
            "the project's folder"
        ) from None
    row = 1
    try:
        with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            _check_column(file.schema_arrow, pyarrow.types, name, problem)
            for group in range(file.num_row_groups):
                size = _batch_rows(file.metadata.row_group(group))
                for batch in file.iter_batches(size, row_groups=[group], columns=[COLUMN], use_threads=False):
                    for value in batch.column(COLUMN):
                        yield f"row {row}", value.as_py() or ""
                        row += 1
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise problem(f"{name}, row {row}: byte {byte:#04x} is not UTF-8, wanted text in UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        first_line = str(error).split("\n", 1)[0]
        raise problem(f"{name} is no whole Parquet file (row {row}: {first_line}): get or make it again") from None


def _check_column(schema: Any, types: Any, name: str, problem: type[InputError]) -> None:
    index = schema.get_field_index(COLUMN)
    if index < 0:
        raise problem(f'{name} has not one column "{COLUMN}", but {", ".join(schema.names) or "none"}')
    kind = schema.field(index).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)):
        raise problem(f'{name}: the column "{COLUMN}" holds {kind}, wanted strings')


def _batch_rows(group: Any) -> int:
    """Return how many rows of this group make some `BATCH_BYTES`, by their mean size."""
    columns = (group.column(index) for index in range(group.num_columns))
    size: int = next(column.total_uncompressed_size for column in columns if column.path_in_schema == COLUMN)
    n_rows: int = group.num_rows
    return max(1, min(MOST_BATCH_ROWS, n_rows * BATCH_BYTES // max(1, size)))
