"""A reader sees the old file or the new one, never half of one, whatever happens during the write."""

from __future__ import annotations

import json
import math
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path, write_json, write_text
from scratchlm.stage.tables import write_table


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.npy"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert (temporary.parent, temporary.suffix) == (target.parent, ".npy")
    assert target.read_bytes() == b"new" and names(target.parent) == ["file.npy"]


def test_a_folder_takes_its_name_and_replaces_all_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
        assert names(target) == ["old"]
    assert names(target) == ["new"] and names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    write_text(file, "old")
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(error), atomic_path(file) as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(error), atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise error
    with pytest.raises(error), atomic_path(tmp_path / "none"):
        raise error
    assert file.read_text() == "old" and names(folder) == ["old"] and names(tmp_path) == ["file", "folder"]


def test_a_file_or_folder_of_another_kind_at_the_target_is_kept(tmp_path: Path) -> None:
    write_text(tmp_path / "taken", "mine")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(InputError, match=r"taken is in the way: a folder is to be written there; move it elsewhere"),
        atomic_path(tmp_path / "taken") as temporary,
    ):
        temporary.mkdir()
    with pytest.raises(InputError, match=r"folder is in the way: a file is to be written there"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(InputError, match=r"taken is in the way: .*taken/deep/er is to be written in it"):
        write_text(tmp_path / "taken" / "deep" / "er", "text")
    assert (tmp_path / "taken").read_text() == "mine" and names(tmp_path) == ["folder", "taken"]


@pytest.mark.parametrize("target", ["", ".", "/"])
def test_a_target_without_a_name_is_refused(tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^got '[./]', which names no file or folder to write"):
        write_text(Path(target), "text")
    assert names(tmp_path) == []


def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    folder, file, broken = (tmp_path / name for name in ("folder", "file", "broken"))
    folder.symlink_to("elsewhere")
    file.symlink_to("elsewhere/file")
    broken.symlink_to("elsewhere/none")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
    write_text(file, "new")
    write_text(broken, "new")
    assert not folder.is_symlink() and names(folder) == []
    assert file.read_text() == broken.read_text() == "new"
    assert names(tmp_path / "elsewhere") == ["file"]
    assert (tmp_path / "elsewhere" / "file").read_text() == "mine"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = {letter * 200_000 for letter in "ab"}
    write_text(path, "a" * 200_000)
    done = threading.Event()
    seen = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for letter in "ab" * 20:
        write_text(path, letter * 200_000)
    done.set()
    reader.join()
    assert seen and seen <= texts


@pytest.mark.parametrize("text", ["", "a\r\nb\rc\n", "\ufeff é 中 \U0001f600 \0"])
def test_text_is_written_as_utf_8_byte_for_byte(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes() == text.encode("utf-8")


def test_text_that_is_not_valid_unicode_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "half \ud800")
    assert names(tmp_path) == []


def test_json_is_indented_unescaped_and_in_the_order_given(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"b": "é", "a": [1, None]})
    assert (tmp_path / "file.json").read_text(encoding="utf-8") == (
        '{\n  "b": "é",\n  "a": [\n    1,\n    null\n  ]\n}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, Path("x")])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "file.json", "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "file.json", {"value": value})
    assert json.loads((tmp_path / "file.json").read_text()) == "old" and names(tmp_path) == ["file.json"]


def test_a_table_keeps_small_numbers_and_the_order_of_its_columns(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 0, "learning_rate": 5e-05, "loss": 10.98758347829183, "label": "ham"},
        {"step": 5, "learning_rate": 4.123456789e-06, "loss": 0.1 + 0.2, "label": 'a, "b"'},
    ]
    write_table(tmp_path / "table.csv", rows)
    assert (tmp_path / "table.csv").read_bytes().decode() == (
        'step,learning_rate,loss,label\n0,5e-05,10.9876,ham\n5,4.12346e-06,0.3,"a, ""b"""\n'
    )
    with pytest.raises(ValueError, match="surplus"):
        write_table(tmp_path / "table.csv", [rows[0], {**rows[1], "surplus": 1}])


@pytest.mark.parametrize("name", ["corpus", "table.csv", "[odd].name.json"])
def test_what_a_killed_process_left_is_removed_by_the_next_write(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    with suppress(KeyError), atomic_path(target) as left:
        raise KeyError
    left.mkdir()
    (left / "half").write_text("half")
    (tmp_path / f".{target.stem}.mine{target.suffix}").write_text("not of this module")
    write_text(target, "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f".{target.stem}.mine{target.suffix}"])
