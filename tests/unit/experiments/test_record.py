"""Whether an earlier result still counts: the same params, code and inputs, whatever else was changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scratchlm.experiments.record import (
    INTERRUPTED,
    Note,
    is_current,
    read_notes,
    uncommitted,
    watched_paths,
    write_notes,
)
from scratchlm.params.file import PARAMS, load_params

REPOSITORY = Path(__file__).parents[3]
DVC_YAML = """
stages:
  train:
    cmd: python train.py
    deps: [train.py, library, data/built]
  judge:
    cmd: python judge.py
    deps: [judge.py, inputs]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Git repository with two stages, its result committed."""
    for name in ("train.py", "judge.py", "library/model.py", "inputs/own.dvc", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("first\n", encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    shutil.copy(REPOSITORY / "profiles/sample.yaml", tmp_path / PARAMS)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Result")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    user = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *user, *arguments], cwd=root, check=True)


def current(root: Path, revision: str = "main") -> bool:
    return is_current(root, revision, load_params(REPOSITORY / "profiles/sample.yaml"), watched_paths(root))


def test_what_no_stage_reads_changes_nothing(root: Path) -> None:
    assert current(root)
    (root / "README.md").write_text("second\n", encoding="utf-8")
    (root / PARAMS).unlink()  # the working tree's params are not the revision's
    assert current(root)
    (root / "new.txt").touch()
    assert uncommitted(root) == ["README.md", "params.yaml"]


@pytest.mark.parametrize("name", ["train.py", "judge.py", "library/model.py", "inputs/own.dvc", "dvc.yaml"])
def test_code_inputs_and_pipeline_count(root: Path, name: str) -> None:
    with (root / name).open("a", encoding="utf-8") as file:
        file.write("# second\n")
    assert not current(root)
    git(root, "commit", "--quiet", "--all", "--message", "Second")
    assert current(root) and not current(root, "main~1")
    git(root, "checkout", "--quiet", "main~1", "--", name)
    assert current(root, "main~1")


@pytest.mark.parametrize("text", ["seed: 7\n", "no: params\n", ": [", None])
def test_other_or_unreadable_params_are_not_the_same(root: Path, text: str | None) -> None:
    if text is None:
        (root / PARAMS).unlink()
    elif text.startswith("seed"):
        content = (root / PARAMS).read_text(encoding="utf-8")
        (root / PARAMS).write_text(content.replace("seed: 123\n", text), encoding="utf-8")
    else:
        (root / PARAMS).write_text(text, encoding="utf-8")
    git(root, "commit", "--quiet", "--all", "--message", "Other params")
    assert not current(root)


def test_notes_are_read_as_written_and_damaged_ones_are_none(tmp_path: Path) -> None:
    notes = {"one": Note("abc", 1.5), "two": Note(None, 3.0, INTERRUPTED), "three": Note(problem="too heavy")}
    write_notes(tmp_path, "mine", notes)
    assert read_notes(tmp_path, "mine") == notes
    assert read_notes(tmp_path, "other") == {}
    for damaged in ("{", "[]", '{"one": {"years": 3}}', '{"one": 7}'):
        (tmp_path / "logs/sweeps/mine.json").write_text(damaged, encoding="utf-8")
        assert read_notes(tmp_path, "mine") == {}
