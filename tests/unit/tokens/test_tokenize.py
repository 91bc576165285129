"""Tokenizing the corpus: the book's split, nothing lost, nothing counted twice, in little memory."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from scratchlm.corpus import documents
from scratchlm.corpus.documents import Piece, read_documents, read_pieces
from scratchlm.errors import InputError
from scratchlm.tokenizer.bpe import BytePairTokenizer, train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary
from scratchlm.tokens.folder import TokenManifest, open_tokens
from scratchlm.tokens.tokenize import tokenize_corpus
from scratchlm.tokens.windows import read_windows

# Every kind of character at which a cut could go wrong; the control characters \x1c-\x1f are white space to
# Python and not to the tokenizer.
CHARACTERS = " \n\t\r\x0b\x1c\x1f\x85\xa0\u2028\u3000ab'sl1é中\u0301\U0001f600!<|>"
PIECES = [
    "!\x1c!",
    " \x1f",
    "  ",
    "\n\n",
    "\r\n",
    "'s",
    "'ll",
    "ab",
    "12",
    "中",
    END_OF_TEXT,
    " a",
    "<|endof",
    "--",
    "a--b",
]
TEXT = st.lists(st.sampled_from([*PIECES, *CHARACTERS]), max_size=25).map("".join) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=25
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BytePairTokenizer:
    """A tokenizer with merges between all those characters: a cut in a wrong place changes the ids."""
    rng = random.Random(1)
    texts = ["".join(rng.choices([*PIECES, *CHARACTERS], k=2000)) for _ in range(10)]
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe(texts, 1000))
    return read_tokenizer(folder)


@pytest.fixture(scope="module")
def words() -> WordTokenizer:
    """A tokenizer that knows the more frequent words of such texts."""
    rng = random.Random(1)
    return WordTokenizer(build_vocabulary(["".join(rng.choices([*PIECES, *CHARACTERS], k=20_000))], 1000))


@pytest.fixture(params=["tokenizer", "words"], scope="module")
def any_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(request.param)
    return found


@contextmanager
def corpus_of(texts: list[str]) -> Iterator[Path]:
    """A folder of these documents, in a temporary folder for the tokens."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "corpus"
        folder.mkdir()
        for number, text in enumerate(texts):
            (folder / f"{number:05}.txt").write_bytes(text.encode())
        yield folder


def as_read(text: str) -> str:
    """The text with the line ends that Python reads, as the book counts its characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def texts_of(pieces: Iterable[Piece]) -> list[str]:
    """The texts of the pieces of one document."""
    found = list(pieces)
    assert [piece.begins for piece in found] == [True, *[False] * (len(found) - 1)][: len(found)]
    return [piece.text for piece in found]


def tokens_of(folder: Path) -> dict[str, list[int]]:
    return {split: open_tokens(folder).ids(split)[:].tolist() for split in ("train", "validation")}


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, allowed_special={END_OF_TEXT})


# --- reading in pieces --------------------------------------------------------------------------------------


@given(text=TEXT, read=st.integers(1, 12), back=st.integers(1, 12))
@example(text="!\x1c!!\x1c! " * 4, read=3, back=4096)
def test_pieces_are_the_text_and_have_the_ids_of_the_whole(
    any_tokenizer: Tokenizer, text: str, read: int, back: int
) -> None:
    whole = as_read(text)
    with (
        corpus_of([text]) as folder,
        patch.object(documents, "READ_CHARACTERS", read),
        patch.object(documents, "CUT_CHARACTERS", back),
    ):
        pieces = texts_of(read_pieces(folder / "00000.txt"))
    assert "".join(pieces) == whole and all(pieces)
    assert [token for piece in pieces for token in encode(any_tokenizer, piece)] == encode(any_tokenizer, whole)


def test_a_long_text_really_comes_in_pieces(tmp_path: Path) -> None:
    text = "some words in a row\n" * 200_000
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    pieces = texts_of(read_pieces(tmp_path / "long.txt"))
    assert len(pieces) >= 4 and max(map(len, pieces)) <= documents.READ_CHARACTERS + 20
    assert "".join(pieces) == text and "".join(read_documents(tmp_path)) == text


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("acgt" * 50_000, [200_000]),
        ("acgt" * 200_000, [262_144, 262_144, 262_144, 13_568]),
        ("the " + "acgt" * 100_000, [3, 262_144, 137_857]),  # the only blank is a better place
        ("a" + " " * 400_000 + "b", [1, 262_144, 137_857]),
    ],
)
def test_pieces_of_a_text_without_a_place_to_cut_have_a_limit(tmp_path: Path, text: str, lengths: list[int]) -> None:
    (tmp_path / "dna.txt").write_text(text, encoding="utf-8")
    pieces = texts_of(read_pieces(tmp_path / "dna.txt"))
    assert [len(piece) for piece in pieces] == lengths and "".join(pieces) == text


def test_documents_come_in_the_order_of_their_names_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "B.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / "c").mkdir()
    assert list(read_documents(tmp_path)) == ["B.txt", "a.txt", "b.txt"]


def test_a_document_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"x " * 2_000_000 + b"\xe9")
    with pytest.raises(InputError) as raised:
        list(read_pieces(tmp_path / "latin.txt"))
    assert str(raised.value) == "latin.txt is no longer UTF-8 text (byte 0xe9)"


# --- The Verdict --------------------------------------------------------------------------------------------


@pytest.mark.mirror
def test_the_verdict_has_the_book_s_characters_tokens_and_windows(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    text = (mirror / "the-verdict.txt").read_text(encoding="utf-8")
    (tmp_path / "corpus/the-verdict.txt").write_text(text, encoding="utf-8")
    gpt2 = read_tokenizer(mirror)
    manifest = tokenize_corpus(tmp_path / "corpus", gpt2, tmp_path / "tokens", 256, 256, 0.9)
    assert (manifest.characters, manifest.tokens, manifest.documents) == (20_479, 5145, 1)
    assert (manifest.train_windows, manifest.validation_windows) == (18, 2)
    assert [manifest.train_windows * 256, manifest.validation_windows * 256] == [4608, 512]
    # The split cuts a word: its two halves are one token more than the word.
    assert (manifest.train_tokens, manifest.validation_tokens) == (4612, 534)
    border = int(0.9 * len(text))
    assert tokens_of(tmp_path / "tokens") == {
        "train": gpt2.encode(text[:border]),
        "validation": gpt2.encode(text[border:]),
    }
    assert (manifest.vocab_size, manifest.dtype) == (50257, "<u2")
    windows = read_windows(open_tokens(tmp_path / "tokens"), "train")
    assert windows[1][0].tolist() == gpt2.encode(text)[256:512]


@pytest.mark.mirror
def test_the_verdict_as_words_has_the_book_s_tokens_and_one_word_that_the_split_cuts(
    mirror: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    text = (mirror / "the-verdict.txt").read_text(encoding="utf-8")
    (tmp_path / "corpus/the-verdict.txt").write_text(text, encoding="utf-8")
    tokenizer = WordTokenizer(build_vocabulary(read_documents(tmp_path / "corpus"), 50_000))
    manifest = tokenize_corpus(tmp_path / "corpus", tokenizer, tmp_path / "tokens", 256, 256, 0.9)
    assert (manifest.tokens, manifest.vocab_size) == (4690, 1132)
    # "technique" becomes "techniq" and "ue", which are not words of the story.
    assert (manifest.train_tokens, manifest.validation_tokens) == (4174, 517)
    ids = tokens_of(tmp_path / "tokens")
    unknown = tokenizer.unk_token
    assert [index for index, token in enumerate(ids["train"] + ids["validation"]) if token == unknown] == [4173, 4174]
    assert (manifest.train_unknown_percent, manifest.validation_unknown_percent) == (100 / 4174, 100 / 517)


# --- the split ----------------------------------------------------------------------------------------------


def whole_and_border(texts: list[str], train_fraction: float) -> tuple[str, int]:
    """All documents joined, and the place in that where the first `train_fraction` of their characters ends."""
    train_characters = int(train_fraction * sum(map(len, texts)))
    border = seen = 0
    for number, text in enumerate(texts):
        taken = min(len(text), train_characters - seen)
        seen += taken
        border += taken
        if seen == train_characters:
            break
        border += len(END_OF_TEXT) if number < len(texts) - 1 else 0
    return END_OF_TEXT.join(texts), border


@given(
    texts=st.lists(TEXT.filter(bool), min_size=1, max_size=5),
    train_fraction=st.floats(0.05, 0.95),
    read=st.integers(1, 40),
)
@example(texts=["abcd efgh", "ijkl mnop"], train_fraction=0.5, read=4)
def test_the_splits_are_the_corpus_cut_once_at_the_book_s_place(
    any_tokenizer: Tokenizer, texts: list[str], train_fraction: float, read: int
) -> None:
    whole, border = whole_and_border([as_read(text) for text in texts], train_fraction)
    expected = {"train": encode(any_tokenizer, whole[:border]), "validation": encode(any_tokenizer, whole[border:])}
    assume(all(len(ids) >= 2 for ids in expected.values()))
    with corpus_of(texts) as folder, patch.object(documents, "READ_CHARACTERS", read):
        manifest = tokenize_corpus(folder, any_tokenizer, folder.parent / "tokens", 1, 1, train_fraction)
        found = tokens_of(folder.parent / "tokens")
    assert found == expected
    assert manifest.tokens == len(encode(any_tokenizer, whole))
    assert manifest.characters == sum(len(as_read(text)) for text in texts)
    assert (manifest.train_tokens, manifest.validation_tokens) == tuple(map(len, found.values()))
    if isinstance(any_tokenizer, BytePairTokenizer):
        text = any_tokenizer.decode_bytes(found["train"]) + any_tokenizer.decode_bytes(found["validation"])
        assert text == whole.encode()


def test_documents_are_joined_by_one_end_of_text_wherever_the_split_is(
    tokenizer: BytePairTokenizer,
) -> None:
    texts = ["one two", "three four", "five six"]
    end = tokenizer.eot_token
    for percent in range(15, 96):
        with corpus_of(texts) as folder:
            tokenize_corpus(folder, tokenizer, folder.parent / "tokens", 1, 1, percent / 100)
            found = tokens_of(folder.parent / "tokens")
        ids = found["train"] + found["validation"]
        assert ids.count(end) == 2 and ids[0] != end != ids[-1]
        assert tokenizer.decode(ids) == END_OF_TEXT.join(texts)
        assert (
            found["train"][-1] != end
        )  # if the split is between two documents, the end of text belongs to the second part


def test_the_manifest_describes_the_files_and_is_the_same_every_time(tokenizer: BytePairTokenizer) -> None:
    with corpus_of(["some text " * 50, "more of it " * 50]) as folder:
        tokens = folder.parent / "tokens"
        manifest = tokenize_corpus(folder, tokenizer, tokens, 8, 4, 0.9)
        assert open_tokens(tokens).manifest == manifest
        first = {path.name: path.read_bytes() for path in tokens.iterdir()}
        assert tokenize_corpus(folder, tokenizer, tokens, 8, 4, 0.9) == manifest
        assert {path.name: path.read_bytes() for path in tokens.iterdir()} == first
        assert sorted(first) == ["manifest.json", "train.bin", "validation.bin"]
        assert len(read_windows(open_tokens(tokens), "train")) == manifest.train_windows
        assert len(read_windows(open_tokens(tokens), "validation")) == manifest.validation_windows
    assert {field.name for field in dataclasses.fields(TokenManifest)} >= {
        *("characters", "tokens", "train_tokens", "validation_tokens"),
        *("train_windows", "validation_windows", "vocab_size"),
    }


@pytest.mark.parametrize(("n_vocab", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_ids_take_two_bytes_where_two_are_enough(tmp_path: Path, n_vocab: int, dtype: str) -> None:
    # Bytes, then tokens that no text has; the largest id is the end of text.
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {b"\0" + rank.to_bytes(4, "big"): rank for rank in range(256, n_vocab - 1)}
    tokenizer = BytePairTokenizer(
        "large", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={END_OF_TEXT: n_vocab - 1}
    )
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/a.txt").write_text(f"a{END_OF_TEXT}bcd", encoding="utf-8")
    manifest = tokenize_corpus(tmp_path / "corpus", tokenizer, tmp_path / "tokens", 1, 1, 0.9)
    assert manifest.dtype == dtype
    assert tokens_of(tmp_path / "tokens")["train"][:2] == [ord("a"), n_vocab - 1]
    size_bytes = (tmp_path / "tokens/train.bin").stat().st_size
    assert size_bytes == manifest.train_tokens * np.dtype(dtype).itemsize


def test_the_share_of_unknown_tokens_is_counted_in_each_split(tokenizer: BytePairTokenizer) -> None:
    words = WordTokenizer(build_vocabulary(["known words here."], 100))
    train = "known words, known words here. " * 5  # one token in six is unknown: a comma
    with corpus_of([train, "known new words here " * 2]) as folder:
        fraction = (len(train) + 0.5) / (len(train) + 42)
        manifest = tokenize_corpus(folder, words, folder.parent / "tokens", 2, 2, fraction)
        assert (manifest.train_tokens, manifest.validation_tokens) == (35, 9)  # one <|endoftext|> between the two
        assert manifest.train_unknown_percent == 100 * 5 / 35
        assert manifest.validation_unknown_percent == 100 * 2 / 9
        manifest = tokenize_corpus(folder, tokenizer, folder.parent / "tokens", 2, 2, fraction)
        assert (manifest.train_unknown_percent, manifest.validation_unknown_percent) == (0, 0)


# --- memory -------------------------------------------------------------------------------------------------


def test_a_corpus_larger_than_a_piece_takes_the_memory_of_a_piece(
    any_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "READ_CHARACTERS", 1 << 16)
    (tmp_path / "corpus").mkdir()
    with (tmp_path / "corpus/long.txt").open("w", encoding="utf-8") as file:
        for number in range(30):
            file.write(f"line {number}: a few words that are not long\n" * 10_000)
    size_bytes = (tmp_path / "corpus/long.txt").stat().st_size
    assert size_bytes > 11_000_000
    tracemalloc.start()
    try:
        manifest = tokenize_corpus(tmp_path / "corpus", any_tokenizer, tmp_path / "tokens", 64, 64, 0.9)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert manifest.characters == size_bytes
    assert (tmp_path / "tokens/train.bin").stat().st_size == 2 * manifest.train_tokens > 4_000_000
    assert peak_bytes < 2_000_000


# --- what cannot be used ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "split", "n_tokens"),
    [(["ab"], "train", 1), (["x" * 100], "validation", 10)],
)
def test_a_corpus_too_short_for_a_window_says_what_to_do(
    tokenizer: BytePairTokenizer, texts: list[str], split: str, n_tokens: int
) -> None:
    with corpus_of(texts) as folder:
        (folder.parent / "tokens").mkdir()
        (folder.parent / "tokens/old").write_text("old")
        with pytest.raises(InputError) as raised:
            tokenize_corpus(folder, tokenizer, folder.parent / "tokens", 32, 32, 0.9)
        assert sorted(path.name for path in folder.parent.iterdir()) == ["corpus", "tokens"]
        assert [path.name for path in (folder.parent / "tokens").iterdir()] == ["old"]
    message = str(raised.value)
    assert message.startswith(f"the {split} part of the corpus has {n_tokens} tokens, a window needs ")
    assert "windows.max_length + 1 = 33" in message and "\n" not in message
    for way_out in ("a longer corpus", "a smaller windows.max_length", "another windows.train_fraction"):
        assert way_out in message
