"""Environment variables that hold numbers: read, and refused with what is wanted."""

from __future__ import annotations

import pytest

from scratchlm.errors import InputError
from scratchlm.stage.environment import read_count, read_seconds


@pytest.mark.parametrize("text", ["0", "65", "four", "-1", "1.5", ""])
def test_a_count_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SCRATCHLM_TEST", text)
    with pytest.raises(InputError, match=f"SCRATCHLM_TEST is {text!r}, wanted a whole number from 1 to 64"):
        read_count("SCRATCHLM_TEST", 4, 64)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan", ""])
def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SCRATCHLM_TEST", text)
    with pytest.raises(InputError, match=f"SCRATCHLM_TEST is {text!r}, wanted a number of seconds above 0, such as 60"):
        read_seconds("SCRATCHLM_TEST", 60.0)


def test_numbers_are_read_and_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCHLM_TEST", raising=False)
    assert (read_count("SCRATCHLM_TEST", 4, 64), read_seconds("SCRATCHLM_TEST", 60.0)) == (4, 60.0)
    monkeypatch.setenv("SCRATCHLM_TEST", "8")
    assert (read_count("SCRATCHLM_TEST", 4, 64), read_seconds("SCRATCHLM_TEST", 60.0)) == (8, 8.0)
