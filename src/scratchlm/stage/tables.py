"""Curves and other tables for `dvc plots`, as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scratchlm.files.atomic import write_text

DIGITS = 6  # significant digits: four decimals would turn a learning rate of 5e-05 into 0.0001


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write at least one row as CSV with a header; all rows have the same keys, floats get six significant digits."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _rounded(value) for key, value in row.items()})
    write_text(path, text.getvalue())


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
