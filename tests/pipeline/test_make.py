"""make's targets that need no environment: the list of targets, profiles, cleaning."""

import shutil
from pathlib import Path

import pytest
from dvc_deps import ROOT
from project import Project, copy_project

PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))


@pytest.fixture(scope="module")
def working_tree_copy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("make") / "project")


@pytest.fixture
def project(working_tree_copy: Project, tmp_path: Path) -> Project:
    return working_tree_copy.copy(tmp_path / "a folder with spaces")


def own_lines(stderr: str) -> list[str]:
    """Return the recipe's own lines; make adds one on failure."""
    return [line for line in stderr.splitlines() if not line.startswith("make")]


def test_help_explains_every_target_and_is_the_default(project: Project) -> None:
    (phony,) = (line for line in project.read("Makefile").splitlines() if line.startswith(".PHONY:"))
    shown = project.run("make", "help").stdout
    explained = {line.split()[1]: line.split(maxsplit=2)[2] for line in shown.splitlines()}
    assert explained.keys() == set(phony.removeprefix(".PHONY:").split())
    assert all(len(text) > 10 for text in explained.values())
    assert project.run("make").stdout == shown


@pytest.mark.parametrize("name", PROFILES)
def test_profile_copies_it_over_params_yaml(project: Project, name: str) -> None:
    other = next(profile for profile in PROFILES if profile != name)
    for profile in (other, name):  # from another profile that is not committed, too
        project.run("make", "profile", f"P={profile}")
        assert project.read("params.yaml") == project.read(f"profiles/{profile}.yaml")
    assert not (project.folder / ".venv").exists()


@pytest.mark.parametrize("argument", ["P=huge", "P="])
def test_an_unknown_profile_is_refused_in_one_line_that_names_the_known(project: Project, argument: str) -> None:
    before = project.read("params.yaml")
    lines = own_lines(project.run("make", "profile", argument, fails=True).stderr)
    assert len(lines) == 1
    assert all(name in lines[0] for name in PROFILES)
    assert project.read("params.yaml") == before
    assert project.run("sh", "scripts/profile.sh", argument[2:], fails=True).returncode == 1


@pytest.mark.parametrize("staged", [False, True])
def test_edits_that_are_not_committed_are_not_lost(project: Project, staged: bool) -> None:
    project.set_params({"seed": 7})
    if staged:
        project.git("add", "params.yaml")
    before = project.read("params.yaml")
    lines = own_lines(project.run("make", "profile", "P=laptop", fails=True).stderr)
    assert len(lines) == 1 and "commit" in lines[0] and "git checkout" in lines[0]
    assert project.read("params.yaml") == before
    assert project.run("sh", "scripts/profile.sh", "laptop", fails=True).returncode == 1


def test_the_command_that_the_refusal_names_drops_the_edits(project: Project) -> None:
    project.set_params({"seed": 7})
    project.git("add", "params.yaml")
    (line,) = own_lines(project.run("make", "profile", "P=laptop", fails=True).stderr)
    project.run("sh", "-c", line[line.index("git checkout") :])
    project.run("make", "profile", "P=laptop")


def test_committed_edits_may_be_replaced(project: Project) -> None:
    project.set_params({"seed": 7})
    project.commit("Another seed")
    project.run("make", "profile", "P=laptop")
    assert project.read("params.yaml") == project.read("profiles/laptop.yaml")


def test_clean_keeps_what_the_pipeline_made(project: Project) -> None:
    kept = ["data/corpus/a.txt", "models/pretrained/config.json", ".dvc/cache/files/a", "logs/a"]
    removed = [".venv/bin/python", ".mypy_cache/a", "src/scratchlm/__pycache__/a.pyc", "build/a"]
    for path in (*kept, *removed):
        (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / path).write_text("x")
    project.run("make", "clean")
    assert [path for path in kept if not (project.folder / path).exists()] == []
    assert [path for path in removed if (project.folder / path).exists()] == []


def test_setup_names_a_python_that_is_not_there(project: Project) -> None:
    lines = own_lines(project.run("make", "setup", "PYTHON=python9.9", fails=True).stderr)
    assert lines == ["setup: error: python9.9 not found: install Python 3.11 or newer"]
    assert not (project.folder / ".venv").exists()
    assert shutil.which("python9.9") is None
