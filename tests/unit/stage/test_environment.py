"""Environment variables that hold numbers: read, and refused with what is wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlm.errors import InputError
from scratchlm.stage.environment import SPIN_COUNT, read_count, read_seconds

REPOSITORY = Path(__file__).parents[3]
SCRIPT = "import torch\n\n\ndef main(params):\n    torch.zeros(1)\n"


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP is Linux's")
@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ({}, f"GOMP_SPINCOUNT = '{SPIN_COUNT}'"),
        ({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_openmp_waits_as_it_was_told_before_torch_loaded(chosen: dict[str, str], shown: str, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "profiles/sample.yaml", tmp_path / "params.yaml")
    (tmp_path / "stub.py").write_text(SCRIPT)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    environment = {**inherited, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_DISPLAY_ENV": "VERBOSE", **chosen}
    command = [sys.executable, "-m", "scratchlm.stage", "stub.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert shown in done.stderr
