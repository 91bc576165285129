"""Pretraining that starts from a model folder of the user's, with the real DVC."""

import shutil

import pytest
from project import Project
from test_repro import all_bytes, read_metrics, stages_run

START = "inputs/models/mine"


@pytest.mark.slow
def test_a_model_trains_on_with_its_optimizer_and_its_folder_stays_as_it_was(project: Project) -> None:
    project.set_params({"pretrain.save_optimizer": True})
    assert stages_run(project.dvc("repro", "pretrain").stdout) == ["pretrain"]
    first = read_metrics(project, "pretrain")
    assert (project.folder / "models/pretrained/optimizer.safetensors").is_file()
    # The bases do not depend on how a model was trained, only on its folder; the optimizer's state stays behind.
    project.dvc("repro", "download_weights")
    assert not list((project.folder / "models/bases").rglob("optimizer.safetensors"))

    shutil.copytree(project.folder / "models/pretrained", project.folder / START)
    before = all_bytes(project, f"{START}/*")
    project.set_params({"pretrain.start": START, "pretrain.save_optimizer": False})
    ran = project.dvc("repro", "pretrain")
    assert stages_run(ran.stdout) == ["pretrain"]
    assert f"starts with the weights of {START}; AdamW with the state in optimizer.safetensors" in ran.stdout
    assert "warning" not in ran.stderr
    second = read_metrics(project, "pretrain")
    assert second["initial_validation_loss"] == first["validation_loss"]
    assert second["validation_loss"] < first["validation_loss"]
    assert not (project.folder / "models/pretrained/optimizer.safetensors").exists()
    assert all_bytes(project, f"{START}/*") == before

    assert stages_run(project.dvc("repro", "pretrain").stdout) == []
    (project.folder / START / "optimizer.safetensors").unlink()
    ran = project.dvc("repro", "pretrain")
    assert "AdamW with a fresh state: there is no optimizer.safetensors" in ran.stdout
    fresh = read_metrics(project, "pretrain")
    assert fresh["initial_validation_loss"] == second["initial_validation_loss"]
    assert fresh["validation_loss"] != second["validation_loss"]
