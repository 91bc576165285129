"""Trainings that two processes share give the figures of one: real dvc, real torchrun."""

from __future__ import annotations

import csv
import signal
import time
from pathlib import Path

import pytest
from project import Project, TinyRun
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

TWO = {"SCRATCHLM_LAUNCH": "torchrun --standalone --nproc-per-node 2"}
STAGES = ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences")
CURVES = {
    "pretrain": "data/plots/pretrain.csv",
    "finetune_classifier": "data/plots/classifier_loss.csv",
    "finetune_instructions": "data/plots/finetune_instructions.csv",
    "tune_preferences": "data/plots/tune_preferences.csv",
}


@pytest.fixture(scope="module")
def begun(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return tiny_run.project.copy(tmp_path_factory.mktemp("trainings") / "project")


def repro(project: Project, stage: str, *arguments: str, **environment: str) -> None:
    process = project.start("dvc", "repro", "--single-item", *arguments, stage, **environment)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def rows(project: Project, stage: str) -> list[dict[str, float]]:
    with (project.folder / CURVES[stage]).open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def outs(project: Project, stage: str) -> dict[str, str]:
    lock = YAML(typ="safe", pure=True).load(project.read("dvc.lock"))
    return {out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]}


def assert_same_curve(project: Project, expected: Project, stage: str) -> None:
    for row, other in zip(rows(project, stage), rows(expected, stage), strict=True):
        assert row == pytest.approx(other, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("shard", ["0", "1"], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_to_the_curve_of_one(stage: str, shard: str, begun: Project, tmp_path: Path) -> None:
    project = begun.copy(tmp_path / "project")
    repro(project, stage, "--force", **TWO, SCRATCHLM_SHARD=shard)
    assert_same_curve(project, begun, stage)
    mine, theirs = outs(project, stage), outs(begun, stage)
    assert mine.keys() == theirs.keys()
    allowed = ("models/", "metrics/", "data/plots/")  # weights, and figures whose last digits are rounding
    assert {path for path in mine if mine[path] != theirs[path] and not path.startswith(allowed)} == set()


@pytest.mark.parametrize(("first", "second"), [(TWO, {}), ({}, TWO)], ids=["2-1", "1-2"])
def test_a_training_that_some_have_begun_others_end(
    first: dict[str, str], second: dict[str, str], begun: Project, tmp_path: Path
) -> None:
    project = begun.copy(tmp_path / "project")
    process = project.start("dvc", "repro", "--single-item", "--force", "pretrain", **first)
    while not list((project.folder / ".checkpoints/pretrain").glob("*/[0-9]*.safetensors")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    repro(project, "pretrain", "--force", **second)
    assert_same_curve(project, begun, "pretrain")
