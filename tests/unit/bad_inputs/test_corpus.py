"""Texts, a tokenizer's files and token ids that cannot be used."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from spoiling import (
    BadInput,
    assert_refused,
    cut,
    edited,
    folder_at,
    param,
    pipe_at,
    removed,
    set_params,
    text,
    written,
)

BUILD_AGAIN = "; run `make repro` to build it again"
MANIFEST = rf"data/tokens/manifest\.json is damaged \({{}}\){BUILD_AGAIN}"


def corpus(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"corpus: {name}", make, "download_corpus", message, process)


def tokens(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"tokens: {name}", make, "pretrain", message, process)


BAD_INPUTS = [
    corpus(
        "missing",
        param(corpus__source=["none.txt"]),
        r"corpus\.source: none\.txt is neither a file nor a folder nor a URL; paths are relative to the project's "
        r"folder; `sample` and `the-verdict` are built in",
    ),
    corpus("empty", written("own.txt", ""), r"corpus\.source: .*/own\.txt is empty: give a text, or leave it out"),
    corpus("blank", written("own.txt", " \n\t\n"), r"corpus\.source: .*/own\.txt is empty: .*"),
    corpus(
        "binary",
        written("own.txt", b"\x7fELF\0\1"),
        r"corpus\.source: .*/own\.txt holds zero bytes, so it is binary or UTF-16: give UTF-8 text",
    ),
    corpus(
        "UTF-16",
        written("own.txt", "the cat".encode("utf-16")),
        r"corpus\.source: .*/own\.txt (holds zero bytes|is not UTF-8).*",
    ),
    corpus(
        "Latin-1",
        written("own.txt", "plain\nna\xefve ".encode("latin-1")),
        r"corpus\.source: .*/own\.txt is not UTF-8 text \(line 2, byte 0xef\): convert it first, for example with "
        r"`iconv -f latin1 -t utf-8`",
    ),
    corpus(
        "a folder without texts",
        folder_at("own", corpus__source=["own"]),
        r"corpus\.source: the folder own holds no \.txt, \.md, \.text, \.jsonl, \.jsonl\.gz, \.parquet, \.bin, "
        r"\.ds file",
    ),
    corpus(
        "a line without text",
        written("own.jsonl", '{"text": "good"}\n{"words": 1}\n', corpus__source=["own.jsonl"]),
        r'corpus\.source: .*/own\.jsonl, line 2 has no "text", wanted an object with a string "text" on each line',
        process=True,
    ),
    corpus(
        "a cut gzip file",
        written("own.jsonl.gz", gzip.compress(b'{"text": "good"}\n' * 99)[:-9], corpus__source=["own.jsonl.gz"]),
        r"corpus\.source: .*/own\.jsonl\.gz is no whole gzip file \(line \d+: .*\): get or make it again",
    ),
    corpus(
        "no Parquet file",
        written("own.parquet", "a text", corpus__source=["own.parquet"]),
        r"corpus\.source: .*/own\.parquet is no whole Parquet file \(row 1: .*\): get or make it again",
    ),
    corpus(
        "ids of another tokenizer",
        written("own.bin", b"\xff\xff" * 8, corpus__source=["own.bin"]),
        r"corpus\.source: .*/own\.bin holds the id 65535 \(token 1\), GPT-2's largest is 50256: .*",
    ),
    corpus(
        "texts and ready ids",
        written("own.bin", b"\1\0" * 8, corpus__source=["own.txt", "own.bin"]),
        r"corpus\.source: .*/own\.bin holds ready token ids, .*/own\.txt holds text: give one or the other",
    ),
    corpus(
        "a pipe", pipe_at("pipe", corpus__source=["pipe"]), r"corpus\.source: pipe is neither a file .*", process=True
    ),
    corpus(
        "a name too long",
        param(corpus__source=["a" * 5000]),
        r"a{57}\.\.\. cannot be a path \(too long\): shorten it",
    ),
    corpus(
        "no web address",
        param(corpus__source=["ftp://host/a.txt"]),
        r"'ftp://host/a\.txt' is not a URL that can be downloaded, wanted https://host/path",
    ),
    corpus(
        "another's home",
        param(corpus__source=["~nobody-here/a"]),
        r"~nobody-here/a: there is no home folder of such a user; give an absolute path",
    ),
    corpus(
        "a file where data/ should be",
        lambda: (shutil.rmtree("data"), text("data", "")),
        r"data is in the way: data/corpus is to be written in it; move it elsewhere",
    ),
    BadInput(
        "corpus: shorter than a window",
        written("data/corpus/00001-own.txt", "the cat"),
        "tokenize_corpus",
        r"the train part of the corpus has \d tokens, a window needs windows\.max_length \+ 1 = 17: use a longer "
        r"corpus, a smaller windows\.max_length or another windows\.train_fraction",
    ),
    BadInput(
        "corpus: no documents",
        removed("data/corpus/00001-own.txt"),
        "build_tokenizer",
        rf"data/corpus holds no documents{BUILD_AGAIN}",
    ),
    BadInput(
        "corpus: spoilt between two stages",
        written("data/corpus/00001-own.txt", b"caf\xe9 "),
        "build_tokenizer",
        rf"00001-own\.txt is no longer UTF-8 text \(byte 0xe9\){BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: a file is missing",
        removed("data/tokenizer/vocab.bpe"),
        "tokenize_corpus",
        rf"data/tokenizer/vocab\.bpe is missing, wanted merges of byte pairs{BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: no JSON",
        written("data/tokenizer/encoder.json", "{"),
        "tokenize_corpus",
        rf"data/tokenizer/encoder\.json is not valid JSON \(.*\), wanted tokens with their ids{BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: nested without end",
        written("data/tokenizer/encoder.json", "[" * 100_000),
        "tokenize_corpus",
        rf"data/tokenizer/encoder\.json is not valid JSON \(nested too deeply\), wanted .*{BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: a list",
        written("data/tokenizer/encoder.json", "[]"),
        "tokenize_corpus",
        rf"data/tokenizer/encoder\.json and .* do not belong together, expected .*{BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: merges of what is no byte",
        written("data/tokenizer/vocab.bpe", "t \u2603\n"),
        "tokenize_corpus",
        rf".* do not belong together, expected .*{BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: words without ids",
        written("data/tokenizer/vocabulary.json", '{"the": 5}'),
        "tokenize_corpus",
        rf"data/tokenizer/vocabulary\.json is not a vocabulary of words, expected .*{BUILD_AGAIN}",
    ),
    tokens(
        "no manifest",
        removed("data/tokens/manifest.json"),
        rf"data/tokens/manifest\.json cannot be read \(No such file or directory\){BUILD_AGAIN}",
    ),
    tokens("no JSON", written("data/tokens/manifest.json", "{"), MANIFEST.format("Invalid JSON: .*"), process=True),
    tokens(
        "nested without end", written("data/tokens/manifest.json", "[" * 100_000), MANIFEST.format("Invalid JSON: .*")
    ),
    tokens("a list", written("data/tokens/manifest.json", "[]"), MANIFEST.format(".*")),
    tokens(
        "a count is missing",
        edited("data/tokens/manifest.json", stride=None),
        MANIFEST.format("stride: Field required"),
    ),
    tokens(
        "text for a count",
        edited("data/tokens/manifest.json", train_tokens="5"),
        MANIFEST.format("train_tokens: Input should be a valid integer"),
    ),
    tokens(
        "an unknown kind of number",
        edited("data/tokens/manifest.json", dtype="O"),
        MANIFEST.format("dtype is 'O', expected <u2 or <u4"),
    ),
    tokens(
        "a stride of zero",
        edited("data/tokens/manifest.json", stride=0),
        MANIFEST.format("max_length 16 and stride 0, expected at least 1"),
    ),
    tokens(
        "windows that cannot be",
        edited("data/tokens/manifest.json", max_length=10**9),
        MANIFEST.format(r"train_windows is \d+, but \d+ tokens make 0; expected at least 1"),
    ),
    tokens(
        "of another vocabulary",
        edited("data/tokens/manifest.json", vocab_size=7),
        rf"data/tokens was made with 7 tokens, the tokenizer has 280{BUILD_AGAIN}",
    ),
    tokens(
        "cut short",
        cut("data/tokens/train.bin", 2),
        rf"data/tokens/train\.bin has 1,348 bytes, expected 1,350{BUILD_AGAIN}",
    ),
    tokens(
        "missing",
        removed("data/tokens/train.bin"),
        rf"data/tokens/train\.bin has 0 bytes, expected 1,350{BUILD_AGAIN}",
    ),
    tokens(
        "an id beyond the vocabulary",
        lambda: text("data/tokens/train.bin", b"\xff" * Path("data/tokens/train.bin").stat().st_size),
        rf"data/tokens/train\.bin holds the id 65535, expected at most 279{BUILD_AGAIN}",
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_corpus_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)


# --- odd, but usable ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory of a process is read from /proc")
def test_one_line_of_50_mb_ends_quickly_and_in_bounded_memory(project: Path) -> None:
    third = 17_000_000  # bytes of one endless word, of blanks, and of words
    Path("inputs/corpus").mkdir(parents=True)
    long = "".join([*["acgt"] * (third // 4), " " * third, *["the cat sat on "] * (third // 15)])
    text("inputs/corpus/own.txt", long)
    set_params(corpus__source=["inputs/corpus/own.txt"])
    code = (
        "import sys; from pathlib import Path; from scratchlm.stage.run import run\n"
        "try: run(Path(sys.argv[1]))\n"
        "finally: print(open('/proc/self/status').read())\n"
    )
    for stage in ("download_corpus", "build_tokenizer", "tokenize_corpus"):
        ended = subprocess.run(
            [sys.executable, "-c", code, f"stages/{stage}.py"],
            env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        peak = re.search(r"VmHWM:\s+(\d+) kB", ended.stdout)
        assert peak and int(peak[1]) < 300_000
