"""A tokenizer.json like SmolLM2's: transformers' ids, the bytes of every token, and files that cannot be used."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from scratchlm.errors import OutputError
from scratchlm.tokenizer.bpe import byte_characters, train_bpe
from scratchlm.tokenizer.byte_level import ByteLevelTokenizer, describe_byte_level, write_byte_level
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer, write_hugging_face_tokenizer, write_settings
from scratchlm.tokenizer.measures import unknown_percent
from scratchlm.tokenizer.pieces import describe_pieces
from scratchlm.tokenizer.protocol import END_OF_TEXT

# The single bytes that SmolLM2's vocabulary lacks.
MISSING = bytes.fromhex("c0 c1 f1 f2 f5 f6 f7 f8 f9 fa fb fc fd fe ff 04 06 13 14 16 1d")
SPECIAL = [END_OF_TEXT, "<|im_start|>", "<repo_name>"]
WORDS = "the a cat's dogs don't we'll I've 12 1999 naïve 中文 über .. - (x) \U0001f600 low lower lowest new newer"
TEXT = " ".join(random.Random(1).choices(WORDS.split(), k=400)) + "\n\n\tend  of\u3000line "
PIECES = st.sampled_from(
    [
        *(" ", "  ", "\n", "\t", "'s", "low", "est", "é", "e\u0301", "中", "\U0001f600", "\U0001f468\u200d\U0001f469"),
        *("1", "23", "½", "٣", "!!", "\0", "\x04", "\x1d", "\x7f", "\x85", "\u2028", *SPECIAL),
    ]
)
# Characters in Python's Unicode tables: newer ones are letters to one reader and unknown to another.
ASSIGNED = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=60)
MIXED = st.lists(PIECES | ASSIGNED, max_size=8).map("".join)


def description() -> dict[str, Any]:
    """A tokenizer with SmolLM2's special tokens first and its missing bytes."""
    characters = byte_characters()
    encoder, merges = train_bpe([TEXT], 330)
    lacking = {characters[byte] for byte in MISSING}
    tokens = [token for token in encoder if token not in lacking and token != END_OF_TEXT]
    return describe_byte_level([*SPECIAL, *tokens], merges, SPECIAL, cut_digits=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("byte_level")
    write_byte_level(folder, description())
    write_settings(folder, read_hugging_face_tokenizer(folder), 2048)
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> ByteLevelTokenizer:
    read = read_hugging_face_tokenizer(folder)
    assert isinstance(read, ByteLevelTokenizer)
    return read


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def spelled(text: str) -> bytes:
    """Return what is left of a text without the bytes that are no tokens; no merge of this tokenizer has them."""
    return bytes(byte for byte in text.encode() if byte not in MISSING)


@given(text=MIXED)
@example(text="In 1999 and 2001,  1,000 cats\n 5\n\n 6   7 8a")
@example(text=f"a  {END_OF_TEXT}  b\x1c!\r\n{END_OF_TEXT}{END_OF_TEXT}<|im_start|>")
def test_transformers_gives_the_same_ids(ours: ByteLevelTokenizer, theirs: Any, text: str) -> None:
    ids = ours.encode(text, allowed_special="all")
    assert theirs(text).input_ids == ids
    assert theirs.decode(ids, clean_up_tokenization_spaces=False) == ours.decode(ids)


def test_transformers_knows_the_end_of_text(ours: ByteLevelTokenizer, theirs: Any) -> None:
    assert len(theirs) == ours.n_vocab
    assert theirs.eos_token_id == theirs.bos_token_id == ours.eot_token == 0


@given(text=MIXED | st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_comes_back_without_the_bytes_that_are_no_tokens(ours: ByteLevelTokenizer, text: str) -> None:
    ids = ours.encode_ordinary(text)
    assert b"".join(map(ours.decode_single_token_bytes, ids)) == spelled(text)
    assert ours.encode_ordinary_batch([text, ""]) == [ids, []]


@given(text=ASSIGNED)
def test_every_digit_is_cut_out(ours: ByteLevelTokenizer, text: str) -> None:
    for token in ours.encode_ordinary(f"{text} 2024{text}7"):
        piece = ours.decode_single_token_bytes(token)
        assert len(piece) == 1 or not any(digit in piece for digit in b"0123456789")


def test_special_tokens_in_a_text_are_text_unless_they_are_allowed(ours: ByteLevelTokenizer) -> None:
    text = f"a{END_OF_TEXT}<|im_start|>b"
    ordinary = ours.encode_ordinary(text)
    assert 0 not in ordinary and 1 not in ordinary and ours.decode(ordinary) == text
    assert ours.encode(text, allowed_special=set()) == ordinary
    a, b = (ours.encode_ordinary(letter) for letter in "ab")
    assert ours.encode(text, allowed_special={END_OF_TEXT}) == [*a, 0, *ours.encode_ordinary("<|im_start|>"), *b]
    assert ours.encode_to_numpy(text, allowed_special="all").tolist() == [*a, 0, 1, *b]


@given(ids=st.lists(st.integers(0, 300), max_size=30))
def test_a_stream_of_tokens_joins_to_their_text(ours: ByteLevelTokenizer, ids: list[int]) -> None:
    content = b"".join(map(ours.decode_single_token_bytes, ids))
    assert "".join(ours.decode_stream(ids)) == ours.decode(ids) == content.decode(errors="replace")


@pytest.mark.parametrize("blank", [" ", "\n", "\t \u3000", "x", "1"])
def test_very_long_runs_are_encoded(ours: ByteLevelTokenizer, blank: str) -> None:
    text = f"low{blank * 300_000}est"
    assert ours.decode(ours.encode_ordinary(text)) == text


def test_half_a_surrogate_pair_is_a_replacement_character(ours: ByteLevelTokenizer) -> None:
    assert ours.decode(ours.encode_ordinary("low\ud800est")) == "low\ufffdest"
    assert ours.encode_ordinary("\ud83d\ude00") == ours.encode_ordinary("\U0001f600")


def test_every_special_token_ends_an_answer_and_nothing_else_does(ours: ByteLevelTokenizer) -> None:
    named = {index for index, token in enumerate(ours.tokens()) if token.startswith((b"<|", b"<"))} & set(range(17))
    assert ours.stop_ids == named and {0, 1} <= named


def test_the_tokens_are_the_special_ones_then_bytes_then_merges(ours: ByteLevelTokenizer) -> None:
    tokens = ours.tokens()
    assert tokens[:3] == [token.encode() for token in SPECIAL]
    assert {token[0] for token in tokens if len(token) == 1} == set(range(256)) - set(MISSING)
    assert len(tokens) == ours.n_vocab == len(SPECIAL) + 256 - len(MISSING) + ours.n_merges
    assert ours.unk_token is None and unknown_percent(ours, ["\x04"]) == 0.0
    assert "low" in describe_pieces(ours, " low", ours.encode_ordinary(" low"))


def test_a_model_folder_s_tokenizer_is_copied_as_it_is(folder: Path, tmp_path: Path) -> None:
    (folder / "other.txt").write_text("not copied", encoding="utf-8")
    write_hugging_face_tokenizer(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_gpt_2_s_two_files_beside_a_tokenizer_json_are_not_read(
    ours: ByteLevelTokenizer, folder: Path, tmp_path: Path
) -> None:
    # So the hub has SmolLM2: the two files say nothing of digits and special tokens.
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(found["model"]["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *found["model"]["merges"]]), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert read_hugging_face_tokenizer(tmp_path).tokens() == ours.tokens()


def test_a_tokenizer_written_by_the_library_is_read(ours: ByteLevelTokenizer, folder: Path, tmp_path: Path) -> None:
    encoder = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder.enable_truncation(3)
    encoder.enable_padding(length=50)
    encoder.save(str(tmp_path / "tokenizer.json"))
    again = read_hugging_face_tokenizer(tmp_path)
    assert again.tokens() == ours.tokens() and again.encode_ordinary(TEXT) == ours.encode_ordinary(TEXT)


DIGITS_CUT = {"type": "Digits", "individual_digits": True}
WORDS_CUT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def cut_by(*cutters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(cutters)}


@pytest.mark.parametrize("cutter", [WORDS_CUT, cut_by(WORDS_CUT), cut_by(DIGITS_CUT, WORDS_CUT)])
@pytest.mark.parametrize("after", [None, WORDS_CUT])
def test_words_cut_alone_or_after_digits_are_read(cutter: dict[str, Any], after: Any) -> None:
    found = description() | {"pre_tokenizer": cutter, "post_processor": after}
    read = ByteLevelTokenizer(found)
    assert read.decode(read.encode_ordinary(TEXT)) == TEXT


def test_of_two_special_tokens_the_longer_one_is_found() -> None:
    found = description()
    extra = ["<|im_start|>user", *(token for token in found["model"]["vocab"])]
    longer = describe_byte_level(extra, found["model"]["merges"], [*SPECIAL, "<|im_start|>user"], True)
    assert ByteLevelTokenizer(longer).encode("<|im_start|>user", allowed_special="all") == [0]


Change = Callable[[dict[str, Any]], Any]
CHANGES: dict[str, Change] = {
    "the ids are not 0, 1, 2 and so on": lambda found: found["model"]["vocab"].update(low=5000),
    f"no special token {END_OF_TEXT}": lambda found: found["added_tokens"].pop(0),
    "a token is not spelled in bytes": lambda found: found["model"]["vocab"].update(
        {"中": len(found["model"]["vocab"])}
    ),
    "wanted BPE over bytes, .* and no normalizer": lambda found: found.update(normalizer={"type": "NFC"}),
    "wanted BPE over bytes, .*": lambda found: found["pre_tokenizer"]["pretokenizers"].pop(),
    **{
        f"wanted BPE over bytes, cut by {'.' * number}": lambda found, one=one: found.update(pre_tokenizer=one)
        for number, one in enumerate(
            [
                {"type": "FixedLength", "length": 0},  # at which the library panics
                cut_by({"type": "FixedLength", "length": 0}, WORDS_CUT),
                cut_by(
                    {"type": "Split", "pattern": {"String": "e"}, "behavior": "Removed", "invert": False}, WORDS_CUT
                ),
                cut_by({"type": "Digits", "individual_digits": False}, WORDS_CUT),
                cut_by(WORDS_CUT | {"add_prefix_space": True}),
                cut_by(WORDS_CUT | {"use_regex": False}),
                cut_by(DIGITS_CUT, DIGITS_CUT, WORDS_CUT),
                cut_by(),
            ]
        )
    },
    "a post_processor that adds": lambda found: found.update(
        post_processor={"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    ),
    "an added token is empty": lambda found: found["added_tokens"][1].update(content=""),
    "an added token is empty, not special": lambda found: found["added_tokens"][1].update(special=False),
    **{
        f"an added token .*{key}": lambda found, key=key: found["added_tokens"][1].update({key: True})
        for key in ("lstrip", "rstrip", "single_word")
    },
    "a part is missing or of another kind": lambda found: found.pop("added_tokens"),
    "a part is missing .*": lambda found: found["model"].update(vocab=[1, 2]),
    "Token `.*` out of vocabulary": lambda found: found["model"]["merges"].append("lo zz"),
    "dropout, continuing_subword_prefix": lambda found: found["model"].update(dropout=0.1),
    "dropout, continuing_subword_prefix, .*": lambda found: found["model"].update(continuing_subword_prefix="x" * 50),
    "or another unk_token": lambda found: found["model"].update(unk_token="none such"),
    "invalid type": lambda found: found["model"].update(fuse_unk="x"),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_a_tokenizer_that_cannot_be_used_is_refused(tmp_path: Path, problem: str) -> None:
    found = description()
    CHANGES[problem](found)
    (tmp_path / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(OutputError, match=f"tokenizer.json is not a byte-level BPE that can be used: .*{problem}"):
        read_hugging_face_tokenizer(tmp_path)
