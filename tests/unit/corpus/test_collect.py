"""Collecting the corpus: every source becomes documents in order, and a bad source changes nothing."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from http_fault_server import FaultServer, serve
from pyarrow import parquet

from scratchlm.corpus import collect as corpus
from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import document_paths, read_documents, token_paths
from scratchlm.errors import InputError
from scratchlm.sample import corpus as sample_corpus

INPUTS = Path("inputs/corpus")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder, without a mirror and with a cache of its own."""
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def collected(source: str | list[str], folder: Path = Path("data/corpus")) -> list[tuple[str, str]]:
    """Collect and return (name, text) of the documents in the order in which they are read."""
    collect_corpus(source, folder, INPUTS)
    return [(path.name, path.read_bytes().decode()) for path in document_paths(folder)]


def refusal(source: str | list[str]) -> str:
    """Return the error of a source, after a check that the old corpus is unchanged and nothing else was left."""
    folder = Path("data/corpus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "old.txt").write_text("old", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        collect_corpus(source, folder, INPUTS)
    assert [path.name for path in Path("data").iterdir()] == ["corpus"]
    assert [path.name for path in folder.iterdir()] == ["old.txt"]
    message = str(raised.value)
    assert "\n" not in message
    return message


def written(path: str, content: str | bytes) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- sample and The Verdict ---------------------------------------------------------------------------------


def test_the_sample_is_our_own_documents_and_replaces_what_was_there(project: Path) -> None:
    written("data/corpus/old.txt", "old")
    assert collected("sample") == list(sample_corpus.documents().items())
    again = {path.name: path.read_bytes() for path in document_paths(Path("data/corpus"))}
    collect_corpus("sample", Path("again"), INPUTS)
    assert {path.name: path.read_bytes() for path in document_paths(Path("again"))} == again


@pytest.mark.mirror
def test_the_verdict_is_one_document_of_20479_characters(
    project: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(mirror))
    assert collected("the-verdict") == [("the-verdict.txt", (mirror / "the-verdict.txt").read_bytes().decode())]
    assert len("".join(read_documents(Path("data/corpus")))) == 20_479


# --- files and folders --------------------------------------------------------------------------------------


def test_files_keep_the_user_s_order_and_their_text_byte_for_byte(project: Path) -> None:
    text = "zweite \U0001f600\r\n中\tx\rno newline at the end"
    source = [written("z.txt", text), written("a.md", "first?"), written("more/b", "any suffix\n")]
    assert collected(source) == [
        ("00001-z.txt", text),
        ("00002-a.txt", "first?"),
        ("00003-b.txt", "any suffix\n"),
    ]


def test_a_source_can_be_a_single_file(project: Path) -> None:
    assert collected(written("own.txt", "mine")) == [("00001-own.txt", "mine")]


def test_files_of_the_same_name_stay_apart(project: Path) -> None:
    source = [written("a/notes.txt", "one"), written("b/notes.txt", "two"), "a/notes.txt"]
    assert [text for _, text in collected(source)] == ["one", "two", "one"]


def test_a_folder_gives_its_text_files_at_any_depth_sorted(project: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/B.TXT", "c.text", "picture.png", "script.py"):
        written(f"texts/{name}", name)
    Path("texts/folder.txt").mkdir()
    written("last.txt", "last")
    found = [text for _, text in collected(["texts", "last.txt"])]
    assert found == ["a/B.TXT", "a/z.md", "b.txt", "c.text", "last"]


def test_files_of_macos_and_hidden_and_linked_folders_are_left_out(project: Path) -> None:
    for name in (
        ".ipynb_checkpoints/a.txt",
        "b/.hidden/a.txt",
        "b/c.txt",
        "b/._c.txt",
        ".here.txt",
        "../outside/far.txt",
    ):
        written(f"inputs/corpus/texts/{name}", name)
    Path("inputs/corpus/texts/link").symlink_to("../outside")
    assert [text for _, text in collected(["inputs/corpus/texts"])] == [".here.txt", "b/c.txt"]


def test_relative_paths_are_relative_to_the_project_when_dvc_runs_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("own.txt", "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert collected(["own.txt", str(project / "own.txt")]) == [
        ("00001-own.txt", "mine"),
        ("00002-own.txt", "mine"),
    ]


def test_the_order_is_kept_if_numbers_need_more_digits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "NUMBER_DIGITS", 1)
    source = [written(f"{number}.txt", f"text {number}") for number in range(101)]
    found = collected(source)
    assert [text for _, text in found] == [f"text {number}" for number in range(101)]
    assert (found[0][0], found[-1][0]) == ("001-0.txt", "101-100.txt")


def test_a_very_long_file_name_is_shortened(project: Path) -> None:
    source = [written("é" * 125 + ".txt", "one"), written("n" * 255, "two")]
    found = collected(source)
    assert [text for _, text in found] == ["one", "two"]
    assert all(len(name.encode()) < 120 for name, _ in found)


def test_a_byte_order_mark_is_not_part_of_the_text(project: Path) -> None:
    assert collected(written("bom.txt", b"\xef\xbb\xbftext \xef\xbb\xbf")) == [("00001-bom.txt", "text \ufeff")]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_text_read_in_any_pieces_is_the_same_text(project: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(corpus, "READ_BYTES", size)
    text = "é中\U0001f600x\r\n" * 3
    assert collected(written("a.txt", "\ufeff" + text)) == [("00001-a.txt", text)]


# --- URLs ---------------------------------------------------------------------------------------------------


def test_urls_are_downloaded_in_the_order_given(project: Path, server: FaultServer) -> None:
    first = server.plan("/books/b.txt?download=/1/c.d", serve("from b é".encode()))
    second = server.plan("/a.md", serve(b"from a"))
    source = [first, written("own.txt", "mine"), second]
    assert collected(source) == [
        ("00001-b.txt", "from b é"),
        ("00002-own.txt", "mine"),
        ("00003-a.txt", "from a"),
    ]
    assert sorted(path.name for path in project.iterdir()) == ["data", "own.txt"]


def test_a_url_without_a_name_or_with_a_long_one_has_a_name_too(project: Path, server: FaultServer) -> None:
    long = server.plan("/" + "%C3%A9" * 80 + ".txt#part", serve(b"long"))
    server.plan("/" + "%C3%A9" * 80 + ".txt", serve(b"long"))
    bare = server.plan("/", serve(b"bare"))
    found = collected([bare, long])
    assert [text for _, text in found] == ["bare", "long"]
    assert found[0][0].startswith("00001-127.0.0") and found[0][0].endswith(".txt")


def test_a_url_of_rows_or_of_ready_tokens_is_known_by_its_suffix(project: Path, server: FaultServer) -> None:
    lines = b'{"text": "one row"}\n{"text": "another"}\n'
    parquet.write_table(pa.table({"text": ["a third"]}), "rows.parquet")
    table, ids = Path("rows.parquet").read_bytes(), np.array([7, 50_256], dtype="<u2").tobytes()
    contents = {"a.jsonl": lines, "b.JSONL.gz": gzip.compress(lines), "c.parquet": table, "d.bin": ids, "e.ds": ids}
    urls = {name: server.plan(f"/{name}?x=.txt", serve(content)) for name, content in contents.items()}
    *rows, first, second = urls.values()
    characters = 2 * len("one rowanother") + len("a third")
    assert collect_corpus(rows, Path("data/corpus"), INPUTS) == {"documents": 5, "characters": characters}
    assert {path.name: path.read_bytes() for path in document_paths(Path("data/corpus"))} == {
        "00001-a.jsonl": lines,
        "00002-b.jsonl.gz": contents["b.JSONL.gz"],
        "00003-c.parquet": table,
    }
    assert list(read_documents(Path("data/corpus"))) == ["one row", "another"] * 2 + ["a third"]
    assert collect_corpus([first, second], Path("data/corpus"), INPUTS) == {"documents": 2, "tokens": 4}
    assert [path.read_bytes() for path in token_paths(Path("data/corpus"))] == [ids, ids]


def test_a_bad_row_behind_a_url_names_the_url(project: Path, server: FaultServer) -> None:
    url = server.plan("/a.jsonl", serve(b'{"text": "good"}\n{"words": 1}\n'))
    assert f'corpus.source: {url}, line 2 has no "text"' in refusal([url])


def test_a_url_that_fails_is_named(project: Path, server: FaultServer) -> None:
    message = refusal([written("own.txt", "mine"), f"{server.url}/missing.txt"])
    assert f"{server.url}/missing.txt" in message and "404" in message


@pytest.mark.parametrize("url", ["ftp://host/a.txt", "file:///etc/passwd", "http://", "http://[::1/a.txt"])
def test_an_unsupported_url_is_refused(project: Path, url: str) -> None:
    message = refusal([url])
    assert url in message and "wanted https://host/path" in message


def test_a_download_that_is_not_text_is_refused(project: Path, server: FaultServer) -> None:
    url = server.plan("/a.zip", serve(b"PK\3\4\0\0\0"))
    assert f"corpus.source: {url} holds zero bytes" in refusal([url])


# --- what cannot be used ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", "\u3000\xa0".encode()])
def test_an_empty_text_is_refused(project: Path, content: bytes) -> None:
    message = refusal([written("good.txt", "good"), written("bad.txt", content)])
    assert message == f"corpus.source: {project}/bad.txt is empty: give a text, or leave it out"


@pytest.mark.parametrize(
    "content", ["naïve".encode("latin-1"), b"x" * 3_000_000 + b"\xff", b"cut off \xe4\xb8", b"\xed\xa0\x80"]
)
def test_a_text_that_is_not_utf_8_is_refused(project: Path, content: bytes) -> None:
    message = refusal([written("good.txt", "good"), written("bad.txt", content)])
    assert message.startswith(f"corpus.source: {project}/bad.txt is not UTF-8 text (")
    assert message.endswith("convert it first, for example with `iconv -f latin1 -t utf-8`")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0", "text".encode("utf-16"), b"x" * 2_000_000 + b"\0"])
def test_a_binary_file_is_refused(project: Path, content: bytes) -> None:
    # UTF-16 with a byte order mark is not UTF-8 either; both messages say what to give.
    message = refusal([written("bad.txt", content)])
    assert message == (f"corpus.source: {project}/bad.txt holds zero bytes, so it is binary or UTF-16: give UTF-8 text")


def test_a_missing_source_says_what_a_source_can_be(project: Path) -> None:
    message = refusal([written("good.txt", "good"), "smaple"])
    assert message == (
        "corpus.source: smaple is neither a file nor a folder nor a URL; paths are relative to the project's "
        "folder; `sample` and `the-verdict` are built in"
    )


def test_a_source_without_a_name_says_what_a_source_can_be(project: Path) -> None:
    message = refusal([written("good.txt", "good"), ""])
    assert message == "corpus.source: one of the sources is empty: give a file, a folder or a URL, or leave it out"


def test_a_folder_without_texts_is_refused(project: Path) -> None:
    written("pictures/a.png", b"\0")
    message = refusal(["pictures"])
    assert (
        message
        == "corpus.source: the folder pictures holds no .txt, .md, .text, .jsonl, .jsonl.gz, .parquet, .bin, .ds file"
    )


@pytest.mark.skipif(shutil.which("mkfifo") is None, reason="there are no pipes here")
def test_a_pipe_is_refused_without_reading_it(project: Path) -> None:
    os.mkfifo("pipe.txt")
    assert "pipe.txt is neither a file nor a folder" in refusal(["pipe.txt"])
