"""A project for tests of bad input: built once, copied for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from spoiling import ENTRIES, MESSAGES, PAIRS, READY, REPOSITORY, SETTINGS, csv_of, inside, run_stage, set_params, text


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project with a user's own data, in which every stage has run."""
    folder = tmp_path_factory.mktemp("ready")
    for name in ("src", "stages", "dvc.yaml"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "inputs/benchmarks").mkdir(parents=True)
    (folder / "inputs" / "models").mkdir(parents=True)
    shutil.copy(REPOSITORY / "profiles" / "sample.yaml", folder / "params.yaml")
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHLM_DEVICE", "cpu")
        set_params(**SETTINGS)
        text("own.txt", "the cat sat on the mat and the dog ran to the house by the sea\n" * 30)
        text("own.csv", csv_of(MESSAGES))
        text("own.json", json.dumps(ENTRIES))
        text("pairs.json", json.dumps(PAIRS))
        for stage in READY:
            run_stage(stage)
    return folder


@pytest.fixture
def project(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that project, which is also the current folder."""
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    shutil.copytree(ready, folder, symlinks=True)
    with inside(folder):
        yield folder
