"""The same params give the same bytes in any folder, in any environment, and as an experiment."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from project import Project, TinyRun
from test_repro import STAGES, all_bytes, stages_run

RESULTS = ("dvc.lock", "metrics/*")
# Two very different environments, which must not matter. Python ignores a locale that is not installed.
ONE = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
OTHER = {"PYTHONHASHSEED": "4294967295", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "1"}
WEST_NARROW = {"TZ": "America/St_Johns", "COLUMNS": "40", "LINES": "5"}
EAST_WIDE = {"TZ": "Pacific/Kiritimati", "COLUMNS": "300", "LINES": "90"}


def clone(project: Project, folder: Path) -> Project:
    """Clone what is committed: DVC has none of its results, so every stage runs."""
    project.git("clone", "--quiet", ".", str(folder))
    return Project(folder)


def repro_in_terminal(project: Project, environment: dict[str, str]) -> str:
    """Run `dvc repro` in a terminal and return what it shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (int(environment["LINES"]), int(environment["COLUMNS"])))
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(
        command, cwd=project.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux's error when nobody writes to a pseudo-terminal any more
            while piece := os.read(ours, 65536):
                shown += piece
    os.close(ours)
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    assert process.returncode == 0, text
    return text


@pytest.mark.slow
def test_fresh_clones_in_unlike_environments_give_the_same_bytes(tiny_run: TinyRun, tmp_path: Path) -> None:
    expected = all_bytes(tiny_run.project, *RESULTS)

    quiet = clone(tiny_run.project, tmp_path / "one" / "clone")
    command = [sys.executable, "-m", "dvc", "repro"]
    environment = {**quiet.environment, **ONE, **WEST_NARROW}
    ended = subprocess.run(
        command, cwd=quiet.folder, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    assert ended.returncode == 0, ended.stderr
    assert Counter(stages_run(ended.stdout)) == Counter(STAGES)
    assert "it/s" not in ended.stderr and "\r" not in ended.stderr
    assert all_bytes(quiet, *RESULTS) == expected

    watched = clone(tiny_run.project, tmp_path / "a folder with spaces" / "the other clone")
    environment = {**watched.environment, **OTHER, **EAST_WIDE}
    del environment["TQDM_DISABLE"]
    shown = repro_in_terminal(watched, environment)
    assert Counter(stages_run(shown)) == Counter(STAGES)
    assert "\r" in shown and "%|" in shown  # the bars were there
    assert all_bytes(watched, *RESULTS) == expected


@pytest.mark.slow
def test_an_experiment_of_the_same_params_gives_the_same_bytes(project: Project) -> None:
    expected = all_bytes(project, *RESULTS)
    output = project.dvc("exp", "run", "--force").stdout
    assert Counter(stages_run(output)) == Counter(STAGES)
    assert all_bytes(project, *RESULTS) == expected
    assert project.git("status", "--porcelain") == ""
