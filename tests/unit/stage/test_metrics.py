"""Metrics files: rounded, readable, and the same bytes for the same result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.stage.metrics import rounded, write_metrics


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.123456, 0.1235),
        (-0.00001, 0.0),
        (-0.0, 0.0),
        (1e-9, 0.0),
        (97.21, 97.21),
        (3, 3),
        (True, True),
        (None, None),
        ("0.123456", "0.123456"),
        (np.float64(0.123456), 0.1235),
        ({"base": {"mean": 1.00004, "n": 110}}, {"base": {"mean": 1.0, "n": 110}}),
        ((0.00005, [0.33333]), [0.0001, [0.3333]]),
    ],
)
def test_floats_are_rounded_to_four_decimals_and_nothing_else_is_touched(value: Any, expected: Any) -> None:
    found = rounded(value)
    assert found == expected
    assert isinstance(found, type(expected))
    assert str(found) == str(expected) or isinstance(value, np.float64)  # no -0.0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_twice_changes_nothing_and_never_gives_a_negative_zero(value: float) -> None:
    once = rounded(value)
    assert rounded(once) == once and abs(once - value) <= 0.00005 + 1e-12 * abs(value)
    assert math.copysign(1, once) == 1 or once < 0


def test_metrics_that_differ_beyond_four_decimals_are_the_same_bytes(tmp_path: Path) -> None:
    for name, loss in (("a", 6.45200001), ("b", 6.45199999)):
        write_metrics(tmp_path / name, {"loss": loss, "base": {"mean": np.float64(loss)}, "model": "é"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_text(encoding="utf-8") == (
        '{\n  "loss": 6.452,\n  "base": {\n    "mean": 6.452\n  },\n  "model": "é"\n}\n'
    )


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_metrics(tmp_path / "metrics.json", {"loss": math.nan})
    assert list(tmp_path.iterdir()) == []
