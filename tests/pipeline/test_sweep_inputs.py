"""What a sweep does before and after its experiments run, with real Git and DVC but without the queue's worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep
from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from dvc_deps import ROOT
from project import Project

from scratchlm.experiments.sets import load_set

DVC_YAML = """
stages:
  judge:
    cmd: python judge.py
    deps: [inputs]
    params: [seed]
    metrics: [metrics/judge.json: {cache: false}]
"""
MINE = """
description: What is tested here
metrics:
  score: judge.score
compared: score
experiments:
- name: one
  label: one
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with one stage, which no test runs, and one set."""
    folder = tmp_path / "a folder with spaces"
    files = {
        "dvc.yaml": DVC_YAML,
        "experiments/mine.yaml": MINE,
        "inputs/README.md": "Files of your own\n",
        "inputs/messages/.gitkeep": "",
        "params.yaml": (ROOT / "profiles/sample.yaml").read_text(encoding="utf-8"),
        ".gitignore": (ROOT / ".gitignore").read_text(encoding="utf-8"),
        ".dvcignore": (ROOT / ".dvcignore").read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    project = Project(folder)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@localhost")
    project.dvc("init", "--quiet")
    project.commit("Results")
    return project


@pytest.fixture
def repo(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    monkeypatch.chdir(project.folder)
    with Repo() as repo:
        yield repo


def references(project: Project) -> list[str]:
    """List the names of the experiments, and of those set aside, with their kind and what they refer to."""
    lines = project.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps", sweep.ASIDE).splitlines()
    found = [line for line in lines if "celery" not in line and "stash" not in line]
    return sorted(f"{line.split('/')[1]} {line.rpartition('/')[2]}" for line in found)


def test_an_outdated_result_stays_until_its_replacement_is_there(project: Project, repo: Repo) -> None:
    baseline = repo.scm.get_rev()
    project.git("commit", "--quiet", "--allow-empty", "--message", "New result")
    new = repo.scm.get_rev()
    project.git("reset", "--quiet", "--hard", baseline)
    reference = str(ExpRefInfo(baseline, "mine-one"))
    repo.scm.set_ref(reference, baseline)
    experiments, (run,) = load_set("mine", project.folder)

    def queue() -> Any:
        one = sweep.Sweep(repo, experiments, [run])
        one.put(run)
        assert references(project) == [f"scratchlm mine-one {baseline}"]
        one.put_back()  # as a next sweep does while a killed one's experiment is still to run
        assert references(project) == [f"scratchlm mine-one {baseline}"]
        with repo.lock:
            sweep.remove_tasks(one.queue, list(one.queue.iter_queued()))
        return one

    queue().put_back()
    assert references(project) == [f"exps mine-one {baseline}"]
    one = queue()
    repo.scm.set_ref(reference, new)
    one.put_back()
    assert references(project) == [f"exps mine-one {new}"]
