"""Trainings that two processes share give the figures of one: real dvc, real torchrun."""

from __future__ import annotations

import csv
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from project import Project, TinyRun
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

TWO = {"SCRATCHLM_LAUNCH": "torchrun --standalone --nproc-per-node 2"}
CURVES = {
    "pretrain": "data/plots/pretrain.csv",
    "finetune_classifier": "data/plots/classifier_loss.csv",
    "finetune_instructions": "data/plots/finetune_instructions.csv",
    "tune_preferences": "data/plots/tune_preferences.csv",
}
DDP, FSDP = {"SCRATCHLM_SHARD": "0"}, {"SCRATCHLM_SHARD": "1"}
CASES = [*((stage, DDP) for stage in CURVES), ("pretrain", FSDP), ("finetune_classifier", FSDP)]
WEIGHTS = {
    "pretrain": "models/pretrained",
    "finetune_classifier": "models/classifier",
    "finetune_instructions": "models/assistant",
    "tune_preferences": "models/preferred",
}


@pytest.fixture(scope="module")
def begun(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return tiny_run.project.copy(tmp_path_factory.mktemp("trainings") / "project")


def repro(project: Project, stage: str, *arguments: str, **environment: str) -> str:
    """Run a stage with DVC, and return what is printed."""
    process = project.start("dvc", "repro", "--single-item", *arguments, stage, **environment)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def rows(project: Project, stage: str) -> list[dict[str, float]]:
    with (project.folder / CURVES[stage]).open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def metrics(project: Project, stage: str) -> dict[str, float]:
    return json.loads(project.read(f"metrics/{stage}.json"))  # type: ignore[no-any-return]


def lock(project: Project) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(project.read("dvc.lock"))["stages"]  # type: ignore[no-any-return]


def assert_same_curve(project: Project, expected: Project, stage: str) -> None:
    """Compare the losses to 1e-5, which is one in the last digit of the table, and perplexities likewise."""
    for row, other in zip(rows(project, stage), rows(expected, stage), strict=True):
        for name, value in row.items():
            relative = 1e-5 if "perplexity" in name else 0.0
            assert value == pytest.approx(other[name], abs=1.01e-5, rel=relative), name


@pytest.mark.parametrize(("stage", "environment"), CASES)
def test_two_processes_train_to_the_curve_of_one(
    stage: str, environment: dict[str, str], begun: Project, tmp_path: Path
) -> None:
    """In dvc.lock the weights differ; and curve, its picture and the metrics where rounding shows."""
    project = begun.copy(tmp_path / "project")
    repro(project, stage, "--force", **TWO, **environment)
    assert_same_curve(project, begun, stage)
    assert metrics(project, stage) == pytest.approx(metrics(begun, stage), abs=1.01e-4, rel=1e-5)
    ours, theirs = lock(project), lock(begun)
    my_outs, their_outs = ({out["path"]: out["md5"] for out in stages[stage].pop("outs")} for stages in (ours, theirs))
    assert ours == theirs
    assert my_outs.keys() == their_outs.keys()
    differing = {path for path in my_outs if my_outs[path] != their_outs[path]}
    curve = Path(CURVES[stage])
    rounded = {str(curve), str(curve.with_suffix(".png")), f"metrics/{stage}.json"}
    assert {WEIGHTS[stage]} <= differing <= {WEIGHTS[stage], *rounded}


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
    assert re.search("resuming after step [1-9]", repro(project, "pretrain", "--force", **second))
    assert_same_curve(project, begun, "pretrain")
