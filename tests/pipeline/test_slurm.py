"""scripts/slurm.sh as a job runs it, with stand-ins for Slurm's programs: each node is a process of this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from project import Project
from test_repro import stages_run
from test_shared_trainings import assert_same_curve

pytestmark = pytest.mark.slow

# As Slurm's: it runs the command once per node of the job; what a node's task leaves behind when it ends is killed; and
# a SIGTERM to srun itself kills the tasks.
SRUN = """
import os, pathlib, signal, subprocess, sys
command = [word for word in sys.argv[1:] if not word.startswith("--")]
nodes = [
    subprocess.Popen(command, env={**os.environ, "SLURM_NODEID": str(node)}, start_new_session=True)
    for node in range(int(os.environ["SLURM_NNODES"]))
]
pathlib.Path(sys.argv[0]).with_name("tasks").write_text(" ".join(str(node.pid) for node in nodes))
signal.signal(signal.SIGTERM, lambda *_: [os.killpg(node.pid, signal.SIGKILL) for node in nodes])
codes = []
while len(codes) < len(nodes):
    pid, status = os.wait()
    codes.append(os.waitstatus_to_exitcode(status))
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
sys.exit(max(map(abs, codes)))
"""
SCANCEL = """
import os, pathlib, signal, sys
assert sys.argv[1:] == ["--signal=TERM", os.environ["SLURM_JOB_ID"]]
for pid in pathlib.Path(sys.argv[0]).with_name("tasks").read_text().split():
    try:
        os.killpg(int(pid), signal.SIGTERM)
    except ProcessLookupError:
        pass
"""
SCONTROL = """
import pathlib, sys
pathlib.Path(sys.argv[0]).with_name("requeued").write_text(" ".join(sys.argv[1:]))
"""
JOB = ("bash", "scripts/slurm.sh")
TIMEOUT_S = 900  # only a test that fails waits that long


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The folder of the stand-ins, and of what they write."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, code in (("srun", SRUN), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        (folder / name).write_text(f"#!/usr/bin/env python3\n{code}")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def job(project: Project, programs: Path) -> dict[str, str]:
    """The environment of the project's job on one node."""
    (project.folder / ".venv").mkdir()
    (project.folder / ".venv/activate-here").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{programs}:{project.environment['PATH']}"
    own = {"PATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**own, "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_ID": "7"}


def end(process: subprocess.Popen[str]) -> str:
    """Return the whole output of a job that must not hang: nothing of it lives on, as that would hold the output."""
    try:
        return process.communicate(timeout=TIMEOUT_S)[0]
    finally:
        if process.poll() is None:
            process.kill()


def test_two_machines_train_as_one_also_when_their_time_is_over_in_between(
    project: Project, job: dict[str, str], programs: Path, tmp_path: Path
) -> None:
    project.set_params({"pretrain.epochs": 2})
    alone = project.copy(tmp_path / "alone")
    alone.dvc("repro", "--single-item", "pretrain")
    two = {**job, "SLURM_NNODES": "2"}
    process = project.start(*JOB, "pretrain", **two)
    while not list((project.folder / ".checkpoints/pretrain").glob("*/0*.safetensors")):
        assert process.poll() is None, end(process)
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)  # to the shell alone, as `--signal=B:TERM@120` does
    output = end(process)
    assert process.returncode != 0 and "pretrain: interrupted after step" in output, output
    assert (programs / "requeued").read_text() == "requeue 7"
    process = project.start(*JOB, "pretrain", **two)
    output = end(process)
    assert process.returncode == 0 and stages_run(output) == ["pretrain"], output
    assert output.count("resuming after step") == 1  # the first process alone talks
    assert_same_curve(project, alone, "pretrain")
    process = project.start(*JOB, "pretrain", **two)
    assert (stages_run(end(process)), process.returncode) == ([], 0)


def test_one_machine_runs_the_pipeline(project: Project, job: dict[str, str], programs: Path) -> None:
    project.set_params({"judge.min_coverage": 0.4})
    half_written = project.folder / ".dvc/tmp/rwlock"
    half_written.write_text("{")
    process = project.start(*JOB, **job)
    output = end(process)
    assert process.returncode == 0 and stages_run(output) == ["judge_responses"], output
    assert "preflight: " in output
    assert not (programs / "requeued").exists()


def test_a_job_that_is_done_in_time_does_not_go_back_into_the_queue(
    project: Project, job: dict[str, str], programs: Path
) -> None:
    stage = "trap '' TERM; touch started; sleep 1"  # as one that is writing its results
    (project.folder / "dvc.yaml").write_text(f'stages: {{only: {{cmd: "{stage}"}}}}')
    process = project.start(*JOB, **job)
    while not (project.folder / "started").exists():
        assert process.poll() is None, end(process)
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output = end(process)
    assert process.returncode == 0 and not (programs / "requeued").exists(), output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "several machines run one stage: name it"),
        (("prepare_sms",), "prepare_sms runs as one process: leave out --nodes"),
    ],
)
def test_several_machines_need_a_stage_that_they_can_share(
    words: tuple[str, ...], said: str, project: Project, job: dict[str, str]
) -> None:
    process = project.start(*JOB, *words, **{**job, "SLURM_NNODES": "2"})
    assert end(process) == f"slurm: error: {said}\n"
    assert process.returncode == 1
