"""Documents as rows: the same texts in any kind of file give the same tokens, and a bad row is named."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from scratchlm.corpus import documents, rows
from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import count_corpus, document_paths, read_documents, read_pieces
from scratchlm.errors import InputError, OutputError
from scratchlm.tokenizer.bpe import BytePairTokenizer, train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokens.tokenize import tokenize_corpus

INPUTS = Path("inputs/corpus")
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")).filter(str.strip)
    | st.lists(st.sampled_from(["a word", "\r\n", "\r", "\n", " ", "中", "\u2028", '"', "\\", "<|endoftext|>"])).map(
        lambda parts: "x" + "".join(parts)
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BytePairTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe(["a word, a word\r\n\n another x中中 word"] * 9, 300))
    return read_tokenizer(folder)


def write_jsonl(path: Path, texts: Sequence[str | None]) -> None:
    lines = [json.dumps({"id": 1, "text": text}, ensure_ascii=number % 2 == 0) for number, text in enumerate(texts)]
    path.write_bytes("\n".join(lines).encode())


def write_jsonl_gz(path: Path, texts: Sequence[str | None]) -> None:
    with gzip.open(path, "wb") as file:
        for text in texts:
            file.write(json.dumps({"text": text}).encode() + b"\r\n\n")


def write_parquet(path: Path, texts: Sequence[str | None]) -> None:
    table = pa.table({"id": list(range(len(texts))), "text": pa.array(texts, pa.string())})
    parquet.write_table(table, path, row_group_size=2)


WRITERS: dict[str, Callable[[Path, Sequence[str | None]], None]] = {
    ".jsonl": write_jsonl,
    ".jsonl.gz": write_jsonl_gz,
    ".parquet": write_parquet,
}


def collected_tokens(source: list[str], folder: Path, tokenizer: BytePairTokenizer) -> tuple[object, ...]:
    """All that the stages make of a source: counts, pieces' texts, and the bytes of both splits."""
    counts = collect_corpus(source, folder / "corpus", INPUTS)
    assert counts == count_corpus(folder / "corpus")._asdict()
    manifest = tokenize_corpus(folder / "corpus", tokenizer, folder / "tokens", 1, 1, 0.6)
    binary = [(folder / "tokens" / f"{split}.bin").read_bytes() for split in ("train", "validation")]
    return counts, manifest, binary, "".join(read_documents(folder / "corpus"))


@settings(max_examples=15)
@given(texts=TEXTS, read=st.integers(1, 12))
def test_the_same_documents_give_the_same_tokens_in_any_kind_of_file(
    tokenizer: BytePairTokenizer, texts: list[str], read: int
) -> None:
    texts = [*(text.removeprefix("\ufeff") or "x" for text in texts), "and some more words at the end"]
    with tempfile.TemporaryDirectory() as temporary, patch.object(documents, "READ_CHARACTERS", read):
        folder = Path(temporary)
        names = [str(folder / f"{number}.txt") for number in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            Path(name).write_bytes(text.encode())
        expected = collected_tokens(names, folder / "txt", tokenizer)
        for suffix, write in WRITERS.items():
            write(folder / f"rows{suffix}", texts)
            assert collected_tokens([str(folder / f"rows{suffix}")], folder / suffix, tokenizer) == expected
        # A folder with all kinds: the parts of the corpus, in the order of their names.
        (folder / "mixed").mkdir()
        (folder / "mixed/0.txt").write_bytes(texts[0].encode())
        for (suffix, write), part in zip(WRITERS.items(), (texts[1:2], texts[2:3], texts[3:]), strict=True):
            if part:
                write(folder / f"mixed/{suffix[1]}{suffix}", part)
        assert collected_tokens([str(folder / "mixed")], folder / "all", tokenizer) == expected


def test_rows_are_copied_as_they_are_under_numbered_names(project: Path) -> None:
    for suffix, write in WRITERS.items():
        write(project / f"mine{suffix.upper()}", ["one", "two words"])
    collect_corpus([f"mine{suffix.upper()}" for suffix in WRITERS], Path("data/corpus"), INPUTS)
    found = {path.name: path.read_bytes() for path in document_paths(Path("data/corpus"))}
    assert found == {
        f"{number:05}-mine{suffix}": (project / f"mine{suffix.upper()}").read_bytes()
        for number, suffix in enumerate(WRITERS, start=1)
    }


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_without_text_are_left_out_and_counted(project: Path, suffix: str) -> None:
    WRITERS[suffix](project / f"mine{suffix}", ["", "one\r\n", " \n\u3000", None, "two"])
    counts = collect_corpus([f"mine{suffix}"], Path("data/corpus"), INPUTS)
    assert counts == {"documents": 2, "characters": 7, "rows_without_text": 3}
    assert count_corpus(Path("data/corpus")) == (2, 7)


def test_each_row_begins_a_document_and_a_long_one_comes_in_pieces(project: Path) -> None:
    long = "some words in a row\n" * 20_000
    write_parquet(project / "a.parquet", ["short", long, "end"])
    pieces = list(read_pieces(project / "a.parquet"))
    assert [piece.begins for piece in pieces] == [True, True, *[False] * (len(pieces) - 3), True]
    assert "".join(piece.text for piece in pieces[1:-1]) == long and len(pieces) >= 5
    assert max(len(piece.text) for piece in pieces) <= documents.READ_CHARACTERS + 20


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_type_of_strings_is_read(project: Path, kind: pa.DataType) -> None:
    parquet.write_table(pa.table({"text": pa.array(["one", "two"]).cast(kind)}), "a.parquet")
    assert list(rows.read_rows(Path("a.parquet"), "a")) == ["one", "two"]


def test_memory_does_not_grow_with_the_rows(project: Path) -> None:
    text = "words " * 2000
    with gzip.open("a.jsonl.gz", "wt") as file:
        for _ in range(2500):
            file.write(json.dumps({"text": text}) + "\n")
    tracemalloc.start()
    try:
        assert sum(len(row) for row in rows.read_rows(Path("a.jsonl.gz"), "a")) == 2500 * len(text)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # of 30 MB
    finally:
        tracemalloc.stop()


def test_a_large_group_of_a_parquet_file_is_not_read_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH_BYTES", 1 << 20)
    random = Random(1)
    texts = [random.randbytes(6000).hex() for _ in range(2000)]  # 24 MB that nothing can compress much
    plain = {"use_dictionary": False, "compression": "none", "write_batch_size": 16}  # so that a page has 1 MiB
    parquet.write_table(pa.table({"text": texts}), "a.parquet", **plain)
    assert parquet.ParquetFile("a.parquet").num_row_groups == 1
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for number, row in enumerate(rows.read_rows(Path("a.parquet"), "a")):
        assert row == texts[number]
        most = max(most, pool.bytes_allocated() - before)
    assert most < 10_000_000


# --- what cannot be used ------------------------------------------------------------------------------------

GOOD = b'{"text": "good"}\n'
WANTED = 'wanted an object with a string "text" on each line'


UNREADABLE = "holds JSON that cannot be read (nested too deeply, or a very long number)"


def refusal(name: str) -> str:
    """The message for a file of the project; nothing is written."""
    with pytest.raises(InputError) as raised:
        collect_corpus([name], Path("data/corpus"), INPUTS)
    assert not Path("data/corpus").exists() and list(Path("data").iterdir()) == []
    message = str(raised.value)
    assert "\n" not in message and message.startswith(f"corpus.source: {Path.cwd()}/{name}")
    return message.removeprefix(f"corpus.source: {Path.cwd()}/{name}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GOOD + b'{"text": ',
            f", line 2 is not valid JSON (Expecting value, column 10), {WANTED}",
        ),
        (b"\n" + GOOD + b"[1]", f", line 3 is no object, {WANTED}"),
        (GOOD + b'{"Text": "x"}', f', line 2 has no "text", {WANTED}'),
        (GOOD + b'{"text": ["x"]}', f', line 2: "text" is no string, {WANTED}'),
        (GOOD + b'{"text": "\xe9"}', f", line 2: byte 0xe9 is not UTF-8, {WANTED}, saved as UTF-8"),
        (GOOD + b'{"text": "\xed\xa0\x80"}', f", line 2: byte 0xed is not UTF-8, {WANTED}, saved as UTF-8"),
        (GOOD + b'{"text": "a\\u0000"}', ", line 2: the text holds a zero byte"),
        (GOOD + b'{"text": "\\ud800"}', ", line 2: the text holds half a character (\\ud800)"),
        (b'{"text": ' + b"[" * 100_000, f", line 1 {UNREADABLE}"),
        (
            b'{"text": "x", "n": ' + b"9" * 5000 + b"}",
            f", line 1 {UNREADABLE}",
        ),
        (b"", " has no row with text: give one, or leave it out"),
        (b'{"text": " "}\n', " has no row with text: give one, or leave it out"),
        (gzip.compress(GOOD, mtime=0), " is compressed by gzip: let its name end with .jsonl.gz"),
    ],
)
def test_a_bad_line_is_named(project: Path, content: bytes, message: str) -> None:
    Path("bad.jsonl").write_bytes(content)
    assert refusal("bad.jsonl") == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD, "line 1: Not a gzipped file (b'{\"'"),
        (
            gzip.compress(GOOD * 9, mtime=0)[:-9],
            "line 10: Compressed file ended before the end-of-stream marker was reached",
        ),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), "line 2: CRC check failed"),
        (gzip.compress(GOOD, mtime=0)[:10] + b"\xff" * 30, "line 1: Error -3 while decompressing data"),
    ],
)
def test_a_damaged_gzip_file_is_named(project: Path, content: bytes, message: str) -> None:
    Path("bad.jsonl.gz").write_bytes(content)
    assert refusal("bad.jsonl.gz").startswith(f" is no whole gzip file ({message}")


def test_a_file_that_was_compressed_twice_is_named(project: Path) -> None:
    Path("bad.jsonl.gz").write_bytes(gzip.compress(gzip.compress(GOOD, mtime=0)))
    assert refusal("bad.jsonl.gz") == " is compressed twice by gzip: decompress it once"


def test_an_endless_line_is_refused_without_reading_it_whole(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_LINE_BYTES", 1000)
    Path("bomb.jsonl.gz").write_bytes(gzip.compress(GOOD + b'{"text": "' + b"a" * 50_000_000))
    tracemalloc.start()
    try:
        message = refusal("bomb.jsonl.gz")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert message == (", line 2 has more than 1,000 bytes: split this document, or make it a text file of its own")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"content": ["x"], "id": [1]}, ' has not one column "text", but content, id'),
        ({"text": [1]}, ': the column "text" holds int64, wanted strings'),
        ({"text": [["x"]]}, ': the column "text" holds list<element: string>, wanted strings'),
        ({"text": [{"a": "x"}]}, ': the column "text" holds struct<a: string>, wanted strings'),
        ({"text": ["x", "y", "a\0"]}, ", row 3: the text holds a zero byte"),
        ({"text": pa.array([], pa.string())}, " has no row with text: give one, or leave it out"),
    ],
)
def test_a_bad_column_or_row_of_a_parquet_file_is_named(
    project: Path, columns: dict[str, list[object]], message: str
) -> None:
    parquet.write_table(pa.table(columns), "bad.parquet")
    assert refusal("bad.parquet") == message


def test_a_parquet_row_that_is_not_utf_8_is_named(project: Path) -> None:
    binary = pa.array([b"fine", b"caf\xe9"], pa.binary())
    text = pa.StringArray.from_buffers(2, binary.buffers()[1], binary.buffers()[2])
    parquet.write_table(pa.table({"text": text}), "bad.parquet")
    assert refusal("bad.parquet") == ", row 2: byte 0xe9 is not UTF-8, wanted text in UTF-8"


def test_a_file_that_is_no_parquet_or_is_cut_is_named(project: Path) -> None:
    Path("bad.parquet").write_bytes(GOOD)
    assert refusal("bad.parquet").startswith(" is no whole Parquet file (row 1: ")
    write_parquet(Path("bad.parquet"), ["text " * 100] * 100)
    whole = Path("bad.parquet").read_bytes()
    Path("bad.parquet").write_bytes(whole[:-100])
    assert refusal("bad.parquet").startswith(" is no whole Parquet file (row 1: ")


def test_without_pyarrow_a_parquet_file_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(Path("mine.parquet"), ["text"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal("mine.parquet") == (
        " needs pyarrow, which is not installed: run `pip install -c constraints.txt -e '.[parquet]'` in the "
        "project's folder"
    )


def test_a_folder_with_the_name_of_a_file_is_looked_into(project: Path) -> None:
    Path("a.jsonl").mkdir()
    with pytest.raises(InputError, match=r"the folder a\.jsonl holds no \.txt, "):
        collect_corpus(["a.jsonl"], Path("data/corpus"), INPUTS)


def test_rows_that_were_damaged_after_collecting_are_an_error_of_the_output(project: Path) -> None:
    write_jsonl(Path("mine.jsonl"), ["one", "two"])
    collect_corpus(["mine.jsonl"], Path("data/corpus"), INPUTS)
    copy = Path("data/corpus/00001-mine.jsonl")
    copy.write_bytes(copy.read_bytes()[:-2])
    with pytest.raises(OutputError, match=r"^00001-mine\.jsonl, line 2 is not valid JSON"):
        count_corpus(Path("data/corpus"))
