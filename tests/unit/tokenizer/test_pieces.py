"""The pieces of a text: every token is shown, whatever its bytes are, in lines of a terminal's width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.errors import InputError
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.pieces import describe_pieces, token_label
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

WORDS = WordTokenizer(build_vocabulary(["the cat sat, antidisestablishment"], 100))
WORD = "antidisestablishment"  # as often as this, it becomes one token


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("bpe")
    write_tokenizer(folder, *train_bpe([f"{WORD} {WORD * 3}\n\n\t 很很"] * 9, 400))
    return read_tokenizer(folder)


def rows(table: str) -> list[tuple[int, str, str]]:
    """Return id, bytes and text of each line; blanks in the text are shown as another character."""
    words = [line.split() for line in table.splitlines()[1:-2]]
    return [(int(token), " ".join(content), piece) for token, *content, piece in words]


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b"a", "a"),
        (b" ", "␣"),
        (b"\n", "\\n"),
        (b"\t", "\\t"),
        (b"\x00", "\\x00"),
        (b"\xf0", "\\xf0"),  # the first of four bytes
        ("很".encode(), "很"),
        (WORD.encode(), "antidisestabl…"),
        (b"<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_labels_show_blanks_and_parts_of_characters_and_cut_what_is_long(
    bpe: Tokenizer, content: bytes, label: str
) -> None:
    (token,) = (token for token in range(bpe.n_vocab) if bpe.decode_single_token_bytes(token) == content)
    assert token_label(bpe, token) == label


def test_the_table_has_the_id_the_bytes_and_the_text_of_each_token(bpe: Tokenizer) -> None:
    text = f"e{WORD}\n🙂"
    ids = bpe.encode_ordinary(text)
    table = describe_pieces(bpe, text, ids)
    assert [row[0] for row in rows(table)] == ids
    assert rows(table)[-5:-3] == [(ids[-5], "0a", "\\n"), (ids[-4], "f0", "\\xf0")]
    assert [row[1] for row in rows(table)[-4:]] == ["f0", "9f", "99", "82"]
    assert rows(describe_pieces(bpe, WORD, bpe.encode_ordinary(WORD)))[0][1:] == (
        *("61 6e 74 69 64 69 73 65 73 74 61 62 6c 69 73 68 …", WORD),
    )
    assert table.splitlines()[-1] == f"23 characters, {len(ids)} tokens: {23 / len(ids):.2f} characters per token"


def test_words_are_shown_as_the_model_sees_them() -> None:
    text = "the dog sat,"
    assert describe_pieces(WORDS, text, WORDS.encode_ordinary(text)).splitlines() == [
        "id  bytes                 piece",
        " 4  74 68 65              the",
        " 6  3c 7c 75 6e 6b 7c 3e  <|unk|>",
        " 3  73 61 74              sat",
        " 0  2c                    ,",
        "",
        "12 characters, 4 tokens: 3.00 characters per token",
    ]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match=r"the text ' \\n' has no tokens: give a text with words in it"):
        describe_pieces(WORDS, " \n", WORDS.encode_ordinary(" \n"))


@given(st.text(min_size=1, max_size=40))
def test_any_text_is_shown_in_lines_of_80_printable_characters(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode_ordinary(text)
    lines = describe_pieces(bpe, text, ids).splitlines()
    assert len(lines) == len(ids) + 3
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    shown = " ".join(row[1] for row in rows("\n".join(lines)))
    assert "…" in shown or bytes.fromhex(shown) == text.encode()
