"""Reading text and JSON: errors of one line, and long text made short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.errors import InputError, OutputError
from scratchlm.files.text import bullets, one_line, read_json, read_text, shorten


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_text_is_read_without_byte_order_mark_and_with_its_own_line_ends(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "file").write_bytes(mark + "é\r\n中\r".encode())
    assert read_text(tmp_path / "file", "a text") == "é\r\n中\r"


@pytest.mark.parametrize("problem", [InputError, OutputError])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, " is missing, wanted a list"),
        (b"[1]\n[\xe9]", ", line 2: byte 0xe9 is not UTF-8, wanted a list, saved as UTF-8"),
        (b"", " is not valid JSON (Expecting value: line 1 column 1 (char 0)), wanted a list"),
        (b"[" * 100_000, " is not valid JSON (nested too deeply), wanted a list"),
    ],
)
def test_a_file_that_is_not_json_raises_the_given_error(
    tmp_path: Path, content: bytes | None, said: str, problem: type[InputError]
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(problem) as raised:
        read_json(path, "a list", problem)
    assert type(raised.value) is problem and str(raised.value) == f"{path}{said}"


def test_a_missing_file_or_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r" cannot be read \(Is a directory\), wanted a list$"):
        read_json(tmp_path, "a list")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"/file/file\.json is missing, wanted a list$"):
        read_json(tmp_path / "file" / "file.json", "a list")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0)
    with pytest.raises(InputError, match=r"/file cannot be read \(Permission denied\), wanted a text$"):
        read_text(tmp_path / "file", "a text")


def test_words_become_one_line_of_valid_unicode() -> None:
    assert one_line(ValueError("a\n  b\tc\r\n"), 100) == "a b c"
    assert one_line("half \ud800 a character", 100) == "half ? a character"
    assert one_line("one two three", 9) == "one tw..."


@given(text=st.text(), limit=st.integers(3, 50))
def test_a_text_is_cut_to_the_limit_and_only_where_it_is_longer(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert short == text if len(text) <= limit else (len(short) == limit and short == text[: limit - 3] + "...")
    line = one_line(text, limit)
    assert len(line) <= limit and len(line.splitlines()) <= 1
    line.encode()


def test_a_list_of_problems_says_how_many_more_there_are() -> None:
    assert bullets([], 2) == ""
    assert bullets(["a", "b"], 2) == "\n  - a\n  - b"
    assert bullets(["a", "b", "c"], 2) == "\n  - a\n  - b\n  and 1 more"
    assert bullets(list("abc") * 1000, 2) == "\n  - a\n  - b\n  and 2,998 more"
