"""One tiny run of the whole pipeline; every test works on a copy of it."""

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from project import Project, TinyRun, copy_project

# Small enough for seconds, large enough that prompts and answers fit the model's context.
TINY = {
    "tokenizer.vocab_size": 500,
    "windows.max_length": 128,
    "windows.stride": 128,
    "model.context_length": 256,
    "model.emb_dim": 16,
    "model.n_heads": 2,
    "model.n_layers": 1,
    "pretrain.epochs": 1,
    "pretrain.batch_size": 64,
    "pretrain.warmup_steps": 0,
    "pretrain.eval_every": 10,
    "pretrain.eval_batches": 1,
    "pretrain.sample_tokens": 5,
    "finetune_classifier.epochs": 1,
    "finetune_classifier.batch_size": 128,
    "finetune_classifier.warmup_steps": 0,
    "finetune_classifier.eval_every": 5,
    "finetune_classifier.eval_batches": 1,
    "finetune_instructions.epochs": 1,
    "finetune_instructions.batch_size": 64,
    "finetune_instructions.max_length": 256,
    "finetune_instructions.warmup_steps": 0,
    "finetune_instructions.eval_every": 5,
    "finetune_instructions.eval_batches": 1,
    "tune_preferences.epochs": 1,
    "tune_preferences.batch_size": 64,
    "tune_preferences.max_length": 256,
    "tune_preferences.warmup_steps": 0,
    "tune_preferences.eval_every": 5,
    "tune_preferences.eval_batches": 1,
    "generate.max_new_tokens": 8,
    "generate.batch_size": 128,
}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> TinyRun:
    """The run, which the first of pytest's processes that needs it makes; the others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "tiny"
    project, said = Project(folder / "a folder with spaces"), folder / "said.json"
    with FileLock(folder.with_suffix(".lock")):
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a run that failed has left
            copy_project(project.folder)
            project.set_params(TINY)
            project.commit("A tiny profile")
            output = project.dvc("repro").stdout
            git_status = project.git("status", "--porcelain")
            project.commit("Its results")
            said.write_text(json.dumps([output, git_status]), encoding="utf-8")
    return TinyRun(project, *json.loads(said.read_text(encoding="utf-8")))


@pytest.fixture
def project(tiny_run: TinyRun, tmp_path: Path) -> Project:
    """A copy of the tiny run, which a test may change."""
    return tiny_run.project.copy(tmp_path / "a folder with spaces")
