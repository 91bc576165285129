"""Metrics files: flat or one level deep, rounded, without durations. The same result gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchlm.files.atomic import write_json

DECIMALS = 4


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write a stage's metrics as JSON, floats rounded to four decimals."""
    write_json(path, rounded(metrics))


def rounded(value: Any) -> Any:
    """Round every float in nested dicts and lists to four decimals (-0.0 becomes 0.0)."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value
