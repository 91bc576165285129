"""Answers that two processes generate are those of one, stopped and killed or not: real dvc, real torchrun."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from project import Project, TinyRun

pytestmark = pytest.mark.slow

STAGE = "generate_responses"
COMMAND = (sys.executable, "-m", "dvc", "repro", STAGE)
TWO = "torchrun --standalone --nproc-per-node 2"
RESULTS = ("dvc.lock", "data/responses.json", f"metrics/{STAGE}.json")
# Drawn, not the likeliest: what is drawn for a prompt must not depend on who else draws.
DRAWN = {"generate.temperature": 1.0, "generate.top_k": 20, "generate.batch_size": 8, "generate.max_new_tokens": 60}


def results(project: Project) -> dict[str, str]:
    return {path: project.read(path) for path in RESULTS}


@pytest.fixture(scope="module")
def whole(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A project in which the answers are to be drawn anew, and those of one process that nothing has stopped."""
    project = tiny_run.project.copy(tmp_path_factory.mktemp("answers") / "project")
    project.set_params(DRAWN)
    alone = project.copy(tmp_path_factory.mktemp("alone") / "project")
    alone.dvc("repro", STAGE)
    return project, results(alone)


def repro(project: Project, launch: str) -> str:
    process = project.start(*COMMAND, SCRATCHLM_LAUNCH=launch)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("n_processes", [2, 3])
def test_several_processes_write_the_bytes_of_one(
    n_processes: int, whole: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project = whole[0].copy(tmp_path / "project")
    repro(project, f"torchrun --standalone --nproc-per-node {n_processes}")
    assert results(project) == whole[1]


@pytest.mark.parametrize(("first", "second"), [(TWO, ""), ("", TWO), (TWO, TWO)], ids=["2-1", "1-2", "2-2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_some_have_begun_others_end(
    number: signal.Signals, first: str, second: str, whole: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project = whole[0].copy(tmp_path / "project")
    process = project.start(*COMMAND, SCRATCHLM_LAUNCH=first)
    while len(list((project.folder / ".checkpoints" / STAGE).glob("*/[0-9]*.safetensors"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert not psutil.wait_procs(below, timeout=15)[1]
    assert "Traceback" not in output
    assert (f"{STAGE}: interrupted after " in output) == (number == signal.SIGTERM)
    assert re.search("^resuming after [1-9]", repro(project, second), re.MULTILINE)
    assert results(project) == whole[1]


def test_a_command_that_starts_nothing_is_one_line_and_leaves_the_results_as_they_were(project: Project) -> None:
    process = project.start(*COMMAND, "--force", SCRATCHLM_LAUNCH="mpirun -n 2")
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert (
        f"{STAGE}: error: SCRATCHLM_LAUNCH is 'mpirun -n 2': 'mpirun' cannot start a stage, only torchrun can; "
        in output
    )
    assert "Traceback" not in output
