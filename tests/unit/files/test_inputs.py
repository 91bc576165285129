"""A user's own files: which ones DVC tracks, which ones a queued experiment gets, and the one warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchlm.errors import InputError
from scratchlm.files.inputs import own_paths

INPUTS = Path("inputs/corpus")


def written(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with inputs of its own as the current folder."""
    folder = tmp_path / "project"
    written(folder / INPUTS / "books" / "one.txt")
    written(folder / INPUTS / "note.txt")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


@pytest.fixture
def queued(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queued experiment's copy of that project as the current folder; it has the books, but not the note."""
    copy = tmp_path / "copy"
    written(copy / INPUTS / "books" / "one.txt")
    monkeypatch.chdir(copy)
    return copy


def resolved(*named: str) -> list[Path]:
    return own_paths(named, INPUTS, "download_corpus")


@pytest.mark.parametrize("name", ["inputs/corpus/note.txt", "./inputs/messages/../corpus/note.txt"])
def test_a_file_in_its_inputs_folder_is_used_without_a_warning(
    project: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note = project / INPUTS / "note.txt"
    assert resolved(name, str(note)) == [note, note]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["note.txt", "inputs/messages/note.txt", "inputs/corpus/../note.txt", "inputs/corpus-2/note.txt", "~/a.txt"]
)
def test_a_path_elsewhere_is_relative_to_the_project_and_warned_of(
    queued: Path,
    project: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = project / Path(name).expanduser()
    written(path)
    assert resolved(name) == [path]
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"download_corpus: warning: DVC does not notice changes of {name}: put it into inputs/corpus/ and name it "
        "there, or run `dvc repro --force download_corpus` after each change\n",
    )


def test_there_is_one_warning_for_all(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(project / "a.txt")
    written(tmp_path / "b")
    resolved("a.txt", "inputs/corpus/note.txt", str(tmp_path / "b"))
    warning = f"download_corpus: warning: DVC does not notice changes of a.txt, {tmp_path / 'b'}: "
    assert capsys.readouterr().err.startswith(warning)


def test_a_path_that_does_not_exist_is_not_warned_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert resolved("sample") == [project / "sample"]
    assert capsys.readouterr() == ("", "")


def test_an_experiment_reads_its_own_copy(queued: Path, project: Path) -> None:
    assert resolved("inputs/corpus/books/one.txt") == [queued / INPUTS / "books" / "one.txt"]
    assert resolved(str(project / INPUTS / "books")) == [queued / INPUTS / "books"]


@pytest.mark.parametrize(
    ("name", "added"),
    [("note.txt", "inputs/corpus/note.txt"), ("books/a b", "'inputs/corpus/books/a b'"), ("my", "inputs/corpus/my")],
)
def test_an_experiment_without_the_file_or_folder_says_how_to_add_it(
    queued: Path, project: Path, name: str, added: str
) -> None:
    written(project / INPUTS / "books" / "a b" / "c.txt")
    written(project / INPUTS / "my" / "c.txt")
    with pytest.raises(InputError) as error:
        resolved(f"inputs/corpus/{name}")
    assert str(error.value) == (
        f"inputs/corpus/{name} is not in this experiment, which has only the files that Git or DVC keeps: run "
        f"`dvc add {added}` in the project's folder, then queue the experiment again"
    )


def test_a_folder_of_which_experiments_would_have_only_a_part_is_refused(project: Path) -> None:
    written(project / INPUTS / "books" / "deep" / "one.txt.dvc")
    with pytest.raises(InputError) as error:
        resolved("inputs/corpus/books")
    assert str(error.value) == (
        "only a part of inputs/corpus/books was added to DVC, so that queued experiments would miss the rest: "
        "run `dvc remove inputs/corpus/books/deep/one.txt.dvc`, then `dvc add inputs/corpus/books`"
    )


@pytest.mark.parametrize("name", ["inputs/corpus", "inputs/corpus/", "inputs/corpus/books/.."])
def test_the_inputs_folder_itself_cannot_be_named(project: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"name those, as in inputs/corpus/mine"):
        resolved(name)


def test_a_missing_file_is_left_to_the_caller(queued: Path) -> None:
    assert resolved("inputs/corpus/none.txt") == [queued / INPUTS / "none.txt"]


def test_a_file_removed_after_queueing_is_still_in_the_copy(queued: Path, project: Path) -> None:
    (project / INPUTS / "books" / "one.txt").unlink()
    assert resolved("inputs/corpus/books/one.txt") == [queued / INPUTS / "books" / "one.txt"]


def test_a_linked_folder_is_warned_of_and_a_linked_file_is_not(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = written(tmp_path / "outside" / "far.txt")
    (INPUTS / "link").symlink_to(outside.parent)
    (INPUTS / "far.txt").symlink_to(outside)
    assert resolved("inputs/corpus/far.txt") == [project / INPUTS / "far.txt"]
    assert capsys.readouterr().err == ""
    assert resolved("inputs/corpus/link", "inputs/corpus/link/far.txt")[0] == project / INPUTS / "link"
    assert "changes of inputs/corpus/link, inputs/corpus/link/far.txt: " in capsys.readouterr().err


def test_inputs_themselves_may_be_a_link(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / INPUTS).rename(tmp_path / "disk")
    (project / INPUTS).symlink_to(tmp_path / "disk")
    assert resolved("inputs/corpus/books/one.txt") == [project / INPUTS / "books" / "one.txt"]
    assert capsys.readouterr().err == ""


def test_what_cannot_be_a_path_is_refused(project: Path) -> None:
    with pytest.raises(InputError, match="cannot be a path"):
        resolved("inputs/corpus/a\0b")
