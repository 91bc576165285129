"""The shared SQLite file: made, kept, begun anew where it is spoilt, and left alone where the machine is at fault."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scratchlm.files.database import files_of, is_sound, open_database

TABLE = "CREATE TABLE IF NOT EXISTS words (word TEXT)"


def add(path: Path, word: str) -> list[str]:
    """Add a word by a connection of its own, and return all there are."""
    with closing(open_database(path, TABLE, "words")) as database:
        database.execute("INSERT INTO words VALUES (?)", (word,))
        return [found for (found,) in database.execute("SELECT word FROM words")]


def test_it_is_made_with_its_folder_and_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "words.sqlite"
    assert add(path, "one") == ["one"]
    assert add(path, "two") == ["one", "two"]
    assert capsys.readouterr().err == ""


def test_a_spoilt_file_is_kept_under_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "words.sqlite"
    path.write_bytes(b"rubbish " * 100)
    assert add(path, "one") == ["one"]
    assert capsys.readouterr().err == f"words: {path} is spoilt, set aside as words.sqlite.spoilt and begun anew\n"
    assert files_of(path, ".spoilt")[0].read_bytes() == b"rubbish " * 100
    assert add(path, "two") == ["one", "two"]


def test_what_is_the_machines_fault_is_raised_and_renames_nothing(tmp_path: Path) -> None:
    (tmp_path / "words.sqlite").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path / "words.sqlite", TABLE, "words")
    assert (tmp_path / "words.sqlite").is_dir()


def test_a_file_that_another_process_writes_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "words.sqlite"
    add(path, "one")
    with closing(open_database(path, TABLE, "words")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO words VALUES ('two')")
        assert is_sound(path)
        writer.execute("COMMIT")
    assert add(path, "three") == ["one", "two", "three"]
