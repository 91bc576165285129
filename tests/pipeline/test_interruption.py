"""A pipeline that is killed again and again gives the results of an uninterrupted one: real dvc, real signals."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from project import Project, TinyRun

KILLS = 20
# Trainings long enough to be hit by a signal, short enough for a test.
LONGER = {
    "pretrain.epochs": 3,
    "pretrain.batch_size": 8,
    "finetune_classifier.epochs": 4,
    "finetune_classifier.batch_size": 16,
    "finetune_instructions.epochs": 3,
    "finetune_instructions.batch_size": 8,
    "tune_preferences.epochs": 2,
    "tune_preferences.batch_size": 8,
    "generate.batch_size": 8,
    "generate.max_new_tokens": 24,
}
# Files that DVC writes in place: a kill in that moment leaves only a part.
WRITTEN_IN_PLACE = (".dvc/tmp/rwlock", "dvc.lock")
MEASURED = ("pretrain", "finetune_classifier", "tune_preferences", "judge_responses", "benchmark_models")
RESULTS = ("dvc.lock", *(f"metrics/{name}.json" for name in MEASURED))


@pytest.fixture(scope="module")
def longer(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A project ready to run longer trainings, and what an uninterrupted run of it writes."""
    project = tiny_run.project.copy(tmp_path_factory.mktemp("longer") / "project")
    project.set_params(LONGER)
    (project.folder / "dvc.lock").unlink()  # DVC notes stages in the order in which it first ran them
    shutil.rmtree(project.folder / ".dvc" / "cache" / "runs")  # every stage runs
    uninterrupted = project.copy(tmp_path_factory.mktemp("whole") / "project")
    uninterrupted.dvc("repro")
    return project, {path: uninterrupted.read(path) for path in RESULTS}


def wait_for_snapshot(project: Project, stage: str) -> None:
    for _ in range(2400):
        if list((project.folder / ".checkpoints" / stage).glob("*/0*.safetensors")):
            return
        time.sleep(0.05)
    raise AssertionError(f"{stage} wrote no snapshot in two minutes")


@pytest.mark.slow
def test_a_pipeline_killed_twenty_times_ends_with_the_same_lock(
    longer: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, expected = longer[0].copy(tmp_path / "project"), longer[1]
    chance = random.Random(123)
    kills = 0
    while kills < KILLS:
        process = project.start(*project.repro_command)
        try:
            output, _ = process.communicate(timeout=chance.uniform(1, 6))
            assert process.returncode == 0, output
            # All stages finished between two kills: start again from the beginning.
            assert {path: project.read(path) for path in RESULTS} == expected
            shutil.rmtree(project.folder)
            project = longer[0].copy(project.folder)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            for path in WRITTEN_IN_PLACE:
                if chance.random() < 0.25 and (project.folder / path).exists():
                    size_bytes = (project.folder / path).stat().st_size
                    os.truncate(project.folder / path, chance.randrange(size_bytes + 1))
    project.run(*project.repro_command)
    assert {path: project.read(path) for path in RESULTS} == expected
    assert len(list((project.folder / ".checkpoints").glob("*/*"))) == 1  # the last stage's, which is done
    assert not [path for path in project.folder.rglob(".*.????????*") if ".git" not in path.parts]


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_snapshot(longer: tuple[Project, dict[str, str]], tmp_path: Path) -> None:
    project, expected = longer[0].copy(tmp_path / "project"), longer[1]
    process = project.start(*project.repro_command)
    wait_for_snapshot(project, "pretrain")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "resuming after step" in project.run(*project.repro_command).stdout
    assert {path: project.read(path) for path in RESULTS} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage", "curve"),
    [
        (signal.SIGINT, "pretrain", "data/plots/pretrain.csv"),
        (signal.SIGTERM, "finetune_classifier", "data/plots/classifier_loss.csv"),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_request_to_stop_keeps_the_work_and_says_how_to_go_on(
    number: signal.Signals, stage: str, curve: str, longer: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, expected = longer[0].copy(tmp_path / "project"), longer[1]
    process = project.start(*project.repro_command)
    wait_for_snapshot(project, stage)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"{stage}: interrupted after step" in output and "run `make repro` to go on from there" in output
    assert "Traceback" not in output
    assert (project.folder / curve).exists()  # it shows the training that far
    resumed = project.run(*project.repro_command)
    assert "resuming after step" in resumed.stdout
    assert {path: project.read(path) for path in RESULTS} == expected


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_stage_outlives_dvc(number: signal.Signals, longer: tuple[Project, dict[str, str]], tmp_path: Path) -> None:
    project = longer[0].copy(tmp_path / "project")
    process = project.start(*project.repro_command)
    wait_for_snapshot(project, "pretrain")
    (dvc,) = (
        child for child in psutil.Process(process.pid).children() if child.cmdline()[1:] == ["-m", "dvc", "repro"]
    )
    children = dvc.children(recursive=True)
    assert any("stages/pretrain.py" in " ".join(child.cmdline()) for child in children)
    dvc.send_signal(number)  # to dvc alone
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
