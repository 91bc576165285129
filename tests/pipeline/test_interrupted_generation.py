"""A generation that is killed or stopped gives the same answers as an uninterrupted one: real dvc, real signals."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import Project, TinyRun

pytestmark = pytest.mark.slow

STAGE = "generate_responses"
# Enough batches of one answer to be hit by a signal; they take seconds.
LONGER = {"generate.batch_size": 1, "generate.max_new_tokens": 100}
RESULTS = ("dvc.lock", "data/responses.json", f"metrics/{STAGE}.json")
KILLS = 8
COMMAND = (sys.executable, "-m", "dvc", "repro", STAGE)


@pytest.fixture(scope="module")
def longer(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A project in which the answers are to be generated anew, and what an uninterrupted run of it writes."""
    project = tiny_run.project.copy(tmp_path_factory.mktemp("longer") / "project")
    project.set_params(LONGER)
    uninterrupted = project.copy(tmp_path_factory.mktemp("whole") / "project")
    uninterrupted.dvc("repro", STAGE)
    return project, {path: uninterrupted.read(path) for path in RESULTS}


def last_snapshot(project: Project) -> int:
    """Return the number of the last snapshot, 0 if there is none."""
    paths = (project.folder / ".checkpoints" / STAGE).glob("*/[0-9]*.safetensors")
    return max((int(path.name.partition("-")[0]) for path in paths), default=0)


def wait_for_snapshot(project: Project, process: subprocess.Popen[str], number: int) -> None:
    """Wait until there is a snapshot with a higher number than this."""
    while last_snapshot(project) <= number:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_killed_again_and_again_it_goes_on_and_ends_with_the_same_bytes(
    longer: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, expected = longer[0].copy(tmp_path / "project"), longer[1]
    chance = random.Random(7)
    reached = 0
    for _ in range(KILLS):
        process = project.start(*COMMAND)
        wait_for_snapshot(project, process, reached + 1)
        time.sleep(chance.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        reached = last_snapshot(project)
    resumed = project.dvc("repro", STAGE)
    # Every snapshot holds one more answer than the one before, but for the first of each process.
    assert f"resuming after {reached - KILLS} of " in resumed.stdout
    assert {path: project.read(path) for path in RESULTS} == expected
    assert all((kept / "done").exists() for kept in (project.folder / ".checkpoints").glob("*/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_request_it_keeps_what_is_done_and_says_how_to_go_on(
    number: signal.Signals, longer: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, expected = longer[0].copy(tmp_path / "project"), longer[1]
    process = project.start(*COMMAND)
    wait_for_snapshot(project, process, 20)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    said = re.search(
        rf"^{STAGE}: interrupted after (\d+) of (\d+) answers; run `make repro` to go on from there$", output, re.M
    )
    assert said and "Traceback" not in output, output
    assert 20 <= int(said[1]) < int(said[2]) == 2 * len(json.loads(expected["data/responses.json"]))
    resumed = project.dvc("repro", STAGE)
    assert f"resuming after {said[1]} of {said[2]} answers" in resumed.stdout
    assert {path: project.read(path) for path in RESULTS} == expected
