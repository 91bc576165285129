"""What a sweep does before and after its experiments run, with real Git and DVC but without the queue's worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep
from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from dvc_deps import ROOT
from project import Project

from scratchlm.errors import InputError
from scratchlm.experiments.own_files import require_kept
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


def write(project: Project, name: str, text: str) -> None:
    (project.folder / name).parent.mkdir(exist_ok=True)
    (project.folder / name).write_text(text, encoding="utf-8")


def refusal(project: Project) -> list[str]:
    """Return the lines with which a sweep refuses what is in inputs/; none if it does not."""
    with Repo() as repo:
        try:
            require_kept(repo)
        except InputError as error:
            return str(error).splitlines()
    return []


START = "experiments have only what Git and DVC keep, which is not what inputs/ holds:"


def test_own_files_must_be_kept_as_they_are(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    assert refusal(project) == []
    write(project, "inputs/messages/my own.csv", "label,text\n")
    write(project, "inputs/messages/.DS_Store", "")  # in .dvcignore
    write(project, "inputs/messages/books/one.txt", "Good morning.\n")
    write(project, "inputs/messages/books/two.txt", "Good morning.\n")
    names = ["inputs/messages/books", "inputs/messages/my own.csv"]
    advice = "run `dvc add inputs/messages/books 'inputs/messages/my own.csv'`, commit, then run the sweep again"
    assert refusal(project) == [START, *(f"  - {name}: not kept" for name in names), advice]

    project.dvc("add", *names)
    assert refusal(project)[1:-1] == [f"  - {name}: Git does not track its note {name}.dvc" for name in names]
    project.commit("DVC keeps them")
    assert refusal(project) == []

    write(project, names[1], "label,text\nham,Hi\n")
    write(project, f"{names[0]}/three.txt", "Good night.\n")
    changed = "changed since `dvc add`, or lost from DVC's cache"
    assert refusal(project) == [START, *(f"  - {name}: {changed}" for name in names), advice]
    project.dvc("add", *names)
    project.commit("DVC keeps the changes")
    assert refusal(project) == []
    (project.folder / names[1]).unlink()
    assert refusal(project) == []


def test_a_file_beside_a_kept_one_is_named_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    write(project, "inputs/messages/books/one.txt", "Good morning.\n")
    project.dvc("add", "inputs/messages/books/one.txt")
    project.commit("DVC keeps it")
    write(project, "inputs/messages/books/two.txt", "Good morning.\n")
    assert refusal(project)[1:-1] == ["  - inputs/messages/books/two.txt: not kept"]


def test_a_sweep_queues_nothing_before_own_files_are_kept(project: Project) -> None:
    write(project, "inputs/messages/own.csv", "label,text\n")
    command = [sys.executable, str(ROOT / "scripts/sweep.py"), "mine"]
    environment = {**project.environment, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.stderr.startswith(f"sweep: error: {START}\n  - inputs/messages/own.csv: not kept\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert project.git("for-each-ref", "refs/exps") == ""
