"""Tokenizing that is killed under the real DVC goes on, and never writes into DVC's cache."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from dvc_deps import read_yaml
from project import Project, copy_project
from ruamel.yaml import YAML

STAGES = ("download_corpus", "build_tokenizer", "tokenize_corpus")
TOKENS = ("train.bin", "validation.bin", "manifest.json")
STAGE = "stages/tokenize_corpus.py"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The stages up to the tokens, of which the last has not run, with compressed JSON lines as the corpus."""
    project = copy_project(tmp_path_factory.mktemp("rows") / "project")
    stages = read_yaml(project.folder / "dvc.yaml")["stages"]
    YAML().dump({"stages": {name: stages[name] for name in STAGES}}, project.folder / "dvc.yaml")
    (project.folder / "dvc.lock").unlink()
    with gzip.open(project.folder / "inputs/corpus/rows.jsonl.gz", "wt", encoding="utf-8") as file:
        for number in range(30_000):
            file.write(json.dumps({"text": f"Row {number} says {number * number} and goes home. " * 5}) + "\n")
    project.set_params({"corpus.source": "inputs/corpus/rows.jsonl.gz", "tokenizer.vocab_size": 300})
    project.dvc("repro", "build_tokenizer")
    return project


def content(project: Project) -> list[bytes]:
    return [(project.folder / "data/tokens" / name).read_bytes() for name in TOKENS]


def kill_the_stage(project: Project) -> None:
    """Start DVC and kill the stage, by SIGKILL, once it has written a snapshot."""
    process = project.start("dvc", "repro")
    deadline = time.monotonic() + 60
    while not list((project.folder / ".checkpoints/tokenize_corpus").glob("*/0*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    (stage,) = (
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.cmdline()[1:] == ["-m", "scratchlm.stage", STAGE]
    )
    os.kill(stage.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in output


def stored(project: Project) -> dict[Path, str]:
    """The MD5 of each file of DVC's cache."""
    files = (project.folder / ".dvc/cache/files").rglob("*")
    return {path: hashlib.md5(path.read_bytes()).hexdigest() for path in files if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("link", ["copy", "hardlink"])
def test_a_killed_tokenizing_goes_on_and_leaves_the_cache_alone(rows: Project, link: str, tmp_path: Path) -> None:
    whole, project = rows.copy(tmp_path / "whole"), rows.copy(tmp_path / "project")
    whole.dvc("repro")
    project.dvc("config", "cache.type", link)
    kill_the_stage(project)
    assert not (project.folder / "data/tokens").exists()
    assert "resuming after" in project.dvc("repro").stdout
    assert content(project) == content(whole)
    before = stored(project)
    # Its snapshots are still there, beside shards that may be files of the cache by another name.
    project.dvc("repro", "--force", "--single-item", "tokenize_corpus")
    assert content(project) == content(whole)
    after = stored(project)
    assert {path: after[path] for path in before} == before
    assert all(path.parent.name + path.name.removesuffix(".dir") == md5 for path, md5 in after.items())
    assert "up to date" in project.dvc("repro").stdout
