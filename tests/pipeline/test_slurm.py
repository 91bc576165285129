"""scripts/slurm.sh as a job runs it, with stand-ins for Slurm's programs: each node is a process of this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import Project
from test_repro import stages_run

pytestmark = pytest.mark.slow

# Runs the command once per node of the job, and passes SIGTERM on as Slurm's does.
SRUN = """
import os, signal, subprocess, sys
command = [word for word in sys.argv[1:] if not word.startswith("--")]
nodes = [
    subprocess.Popen(command, env={**os.environ, "SLURM_NODEID": str(node)}, start_new_session=True)
    for node in range(int(os.environ["SLURM_NNODES"]))
]
signal.signal(signal.SIGTERM, lambda *_: [os.killpg(node.pid, signal.SIGTERM) for node in nodes])
sys.exit(max(abs(node.wait()) for node in nodes))
"""
SCONTROL = """
import pathlib, sys
pathlib.Path("requeued").write_text(" ".join(sys.argv[1:]))
"""
TIMEOUT_S = 300


@pytest.fixture
def job(project: Project, tmp_path: Path) -> dict[str, str]:
    """Put the stand-ins beside a project, and return the environment of its job."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, code in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(f"#!{sys.executable}\n{code}")
        (programs / name).chmod(0o755)
    (project.folder / ".venv").mkdir()
    (project.folder / ".venv/activate-here").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{programs}:{project.environment['PATH']}"
    own = {"PATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**own, "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_ID": "7"}


def test_two_machines_run_one_stage_as_one_does(project: Project, job: dict[str, str], tmp_path: Path) -> None:
    project.set_params({"generate.max_new_tokens": 9, "generate.batch_size": 16})
    alone = project.copy(tmp_path / "alone")
    alone.dvc("repro", "generate_responses")
    command = ("bash", "scripts/slurm.sh", "generate_responses")
    process = project.start(*command, **{**job, "SLURM_NNODES": "2"})
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and stages_run(output) == ["generate_responses"], output
    assert output.count("device: ") == 1  # the first process alone talks
    assert project.read("data/responses.json") == alone.read("data/responses.json")
    process = project.start(*command, **{**job, "SLURM_NNODES": "2"})
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, stages_run(output)) == (0, [])


def test_a_job_whose_time_is_over_saves_and_goes_back_into_the_queue(project: Project, job: dict[str, str]) -> None:
    project.set_params({"pretrain.epochs": 20})
    process = project.start("bash", "scripts/slurm.sh", **job)
    deadline = time.monotonic() + TIMEOUT_S
    while not list((project.folder / ".checkpoints/pretrain").glob("*/0*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # to the shell alone, as `--signal=B:TERM@120` does
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0 and "pretrain: interrupted after step" in output
    assert (project.folder / "requeued").read_text() == "requeue 7"
    process = project.start("bash", "scripts/slurm.sh", **job)
    for line in process.stdout or ():
        if "resuming after step" in line:
            break
    else:
        raise AssertionError("the job did not go on")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)


def test_several_machines_need_a_stage(project: Project, job: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "scripts/slurm.sh"],
        cwd=project.folder,
        env={**project.environment, **job, "SLURM_NNODES": "2"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "slurm: error: several machines run one stage: name it\n")
