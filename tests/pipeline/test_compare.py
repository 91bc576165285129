"""Comparing revisions as a user does: real Git, real DVC, and one stage in place of the pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_deps import ROOT
from project import Project

# The assistant's score of entry i is 50 + gain + i % 3; the base model scores 10. Entry 0 has none if `fails`.
# What was tuned on preferences, where it is there, scores as the assistant.
STAGE = """
import json
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
entries = [
    {"id": i, "instruction": f"{params['task']} {i}.", "input": "", "output": str(i)} for i in range(12)
]
rows = [
    {
        "id": entry["id"], "variant": variant, "judge": params["judge"], "model": params["model"],
        "model_digest": None, "prompt": None, "status": "ok", "reason": "", "options": {"seed": params["judge_seed"]},
        "score": 10.0 if variant == "base" else 50.0 + params["gain"] + entry["id"] % 3,
    }
    for entry in entries for variant in ("base", "assistant", "preferred")[: params["models"]]
]
if params["fails"]:
    rows[1] |= {"score": None, "status": "parse_error"}
Path("data").mkdir(exist_ok=True)
Path("data/responses.json").write_text(json.dumps(entries))
Path("data/verdicts.json").write_text(json.dumps(rows))
"""
DVC_YAML = """
stages:
  judge_responses:
    cmd: python judge.py
    deps: [judge.py]
    params: [task, judge, model, judge_seed, gain, fails, models]
    outs: [data/responses.json, data/verdicts.json]
"""
PARAMS = "task: Count to\njudge: overlap\nmodel: overlap|version:1\njudge_seed: 1\ngain: 0.0\nfails: false\nmodels: 2\n"
EXPERIMENTS = {
    "better": "gain=5.5",
    "failing": "fails=true",
    "other-task": "task=Spell",
    "other-judge": "judge=ollama",
    "other-model": "model=overlap|version:2",
    "other-seed": "judge_seed=2",
    "tuned": "models=3",
}


def compare(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", "compare", *words],
        cwd=project.folder,
        env={**project.environment, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a commit before its first run, one after it, and an experiment for each change."""
    folder = tmp_path_factory.mktemp("compare") / "a folder with spaces"
    folder.mkdir()
    for name, text in (("judge.py", STAGE), ("dvc.yaml", DVC_YAML), ("params.yaml", PARAMS)):
        (folder / name).write_text(text)
    (folder / ".gitignore").write_text("/data/\n")
    project = Project(folder)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@localhost")
    project.dvc("init", "--quiet")
    project.commit("Before the first run")
    project.git("tag", "unbuilt")
    project.dvc("repro")
    project.commit("Results")
    for name, change in EXPERIMENTS.items():
        project.dvc("exp", "run", "--name", name, "--set-param", change)
        project.git("checkout", "--quiet", ".")
        project.dvc("checkout", "--quiet")
    return project


def test_an_experiment_is_compared_with_a_branch_entry_by_entry(project: Project) -> None:
    done = compare(project, "main", "better")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "main          51.00      50.58 to 51.42       12",
        "better        56.50      56.08 to 56.92       12",
        "difference    +5.50      +5.50 to +5.50       12",
        "better wins 12, ties 0, loses 0",
        "The difference's interval excludes 0: better is better.",
    ]


def test_a_revision_from_before_the_tuning_on_preferences_is_compared_and_that_is_said(project: Project) -> None:
    for revisions in (("main", "tuned"), ("tuned", "main")):
        done = compare(project, *revisions)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("assistant, judged by overlap from 0 to 100\n")
        assert done.stdout.endswith("Every score is the same in both.\n\npreferred: only tuned has scores\n")
    both = compare(project, "tuned", "tuned").stdout
    assert both.count("Every score is the same in both.") == 2
    assert "\n\npreferred, judged by overlap from 0 to 100\n" in both


def test_nothing_is_checked_out(project: Project) -> None:
    before = project.read("data/verdicts.json")
    assert compare(project, "better", "main~0").stdout.endswith("main~0 is worse.\n")
    assert project.read("data/verdicts.json") == before
    assert project.git("status", "--porcelain") == ""


def test_the_workspace_is_read_from_its_files(project: Project, tmp_path: Path) -> None:
    copy = project.copy(tmp_path / "copy")
    assert "Every score is the same in both." in compare(copy, "HEAD", "workspace").stdout
    rows = json.loads(copy.read("data/verdicts.json"))
    rows[3]["score"] += 1
    (copy.folder / "data" / "verdicts.json").unlink()  # it may be a link into the cache
    (copy.folder / "data" / "verdicts.json").write_text(json.dumps(rows))
    changed = compare(copy, "HEAD", "workspace").stdout
    assert "workspace wins 1, ties 11, loses 0" in changed
    assert "includes 0: these entries do not tell the two apart" in changed


def test_it_works_from_a_folder_inside_the_project(project: Project) -> None:
    inside = Project(project.folder / "data")
    done = compare(inside, "main", "better")
    assert (done.returncode, done.stdout) == (0, compare(project, "main", "better").stdout)


def test_an_entry_without_a_score_in_one_is_left_out_of_both_means(project: Project) -> None:
    lines = compare(project, "main", "failing").stdout.splitlines()
    assert lines[2].split()[1] == lines[3].split()[1] == "51.09"
    assert "left out: 1 without a score in one of the two" in lines


@pytest.mark.parametrize(
    ("revisions", "said"),
    [
        (("main", "nothing"), "nothing is unknown"),
        (("unbuilt", "main"), "unbuilt has no data/responses.json"),
        (("main", "other-task"), "answered different instructions (12 of 12 entries differ, the first one is entry 0)"),
        (("main", "other-judge"), "main was judged by overlap, other-judge by ollama"),
        (("main", "other-model"), "its model is overlap|version:1 in main and overlap|version:2 in other-model"),
        (("main", "other-seed"), "overlap is not the same judge in both: its seed is 1 in main and 2 in other-seed"),
    ],
)
def test_what_cannot_be_compared_ends_in_one_line(project: Project, revisions: tuple[str, str], said: str) -> None:
    done = compare(project, *revisions)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("scratchlm: error: ") and said in done.stderr


def test_a_missing_cache_and_a_folder_outside_a_project_end_in_one_line(project: Project, tmp_path: Path) -> None:
    copy = project.copy(tmp_path / "copy")
    (copy.folder / ".dvc" / "cache").rename(tmp_path / "cache")
    emptied = compare(copy, "main", "better")
    assert emptied.returncode == 1 and len(emptied.stderr.splitlines()) == 1
    assert "neither DVC's cache nor its remote holds it" in emptied.stderr
    nowhere = compare(Project(tmp_path), "main", "better")
    assert nowhere.returncode == 1 and len(nowhere.stderr.splitlines()) == 1
    assert "is in no DVC project" in nowhere.stderr
