"""Curves and other tables that `dvc plots` shows, as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scratchlm.files import write_text
from scratchlm.metrics import rounded


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as CSV with a header, floats rounded as metrics are; `rows` must not be empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rounded(dict(row)) for row in rows)
    write_text(path, text.getvalue())
