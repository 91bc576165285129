"""GPT-2's tokenizer and trained ones: one format, one reader, and the same ids as from every other reader."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st

from scratchlm.corpus.documents import read_documents
from scratchlm.errors import InputError, OutputError
from scratchlm.model.config import GPT2_VOCAB_SIZE
from scratchlm.tokenizer.bpe import BytePairTokenizer, byte_characters, train_bpe, without_endless_words
from scratchlm.tokenizer.folder import (
    GPT2_SPLIT_PATTERN,
    read_hugging_face_tokenizer,
    read_tokenizer,
    write_hugging_face_tokenizer,
    write_settings,
    write_tokenizer,
)
from scratchlm.tokenizer.measures import unknown_percent
from scratchlm.tokenizer.protocol import END_OF_TEXT

REPOSITORY = Path(__file__).parents[3]
WORDS = "the a cat's dogs don't we'll I've 12 1999 naïve 中文 über .. - (x) \U0001f600 low lower lowest new newer"
TEXTS = [" ".join(random.Random(seed).choices(WORDS.split(), k=200)) + "\n\n\tend  of\u3000line " for seed in range(5)]
# Characters in Python's Unicode tables: newer ones are letters to one reader and unknown to another.
ASSIGNED = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=60)
PIECES = st.sampled_from([" ", "  ", "\n", "\t", "'s", "'ll", "low", "est", "中", "\U0001f600", "1", "!!", END_OF_TEXT])
MIXED = st.lists(PIECES | ASSIGNED, max_size=8).map("".join)


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_tokenizer(folder, *train_bpe(TEXTS, 320))
    return folder


@pytest.fixture(scope="module")
def trained(trained_folder: Path) -> BytePairTokenizer:
    return read_tokenizer(trained_folder)


@pytest.fixture(scope="module")
def gpt2(mirror: Path) -> BytePairTokenizer:
    return read_tokenizer(mirror)


# --- GPT-2 --------------------------------------------------------------------------------------------------


@pytest.mark.mirror
def test_gpt_2_s_files_give_the_book_s_figures(gpt2: BytePairTokenizer, mirror: Path) -> None:
    assert gpt2.n_vocab == GPT2_VOCAB_SIZE and gpt2.eot_token == GPT2_VOCAB_SIZE - 1
    assert len(gpt2.encode((mirror / "the-verdict.txt").read_text(encoding="utf-8"))) == 5145
    assert gpt2.encode("Akwirw ier") == [33901, 86, 343, 86, 220, 959]
    assert gpt2.encode(f"a{END_OF_TEXT}", allowed_special={END_OF_TEXT}) == [64, 50256]


@pytest.mark.mirror
def test_gpt_2_s_ranks_and_pattern_are_tiktoken_s_own(
    gpt2: BytePairTokenizer, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext import openai_public

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    asked: list[str] = []

    def read_local(vocab_bpe_file: str, encoder_json_file: str, **_: Any) -> dict[bytes, int]:
        # tiktoken's own definition of "gpt2", whose two files come from the mirror.
        names = [url.rsplit("/", 1)[1] for url in (vocab_bpe_file, encoder_json_file)]
        asked.extend(names)
        ranks: dict[bytes, int] = data_gym_to_mergeable_bpe_ranks(*(str(mirror / name) for name in names))
        return ranks

    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", read_local)
    theirs = tiktoken.Encoding(**openai_public.gpt2())
    assert asked == ["vocab.bpe", "encoder.json"]
    assert gpt2._mergeable_ranks == theirs._mergeable_ranks
    assert (gpt2._pat_str, gpt2._special_tokens) == (theirs._pat_str, theirs._special_tokens)


# --- training -----------------------------------------------------------------------------------------------


def test_a_trained_tokenizer_has_the_bytes_the_merges_in_order_and_the_end_last(
    trained: BytePairTokenizer, trained_folder: Path
) -> None:
    encoder = json.loads((trained_folder / "encoder.json").read_text(encoding="utf-8"))
    merges = (trained_folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    assert list(encoder.values()) == list(range(320)) and trained.n_vocab == 320
    assert list(encoder)[:256] == list(byte_characters().values())
    assert list(encoder)[256:-1] == [merge.replace(" ", "") for merge in merges[1:-1]]
    assert encoder[END_OF_TEXT] == trained.eot_token == max(encoder.values())
    assert merges[0].startswith("#version") and merges[-1] == ""


def test_the_bytes_have_gpt_2_s_characters() -> None:
    characters = byte_characters()
    assert sorted(characters) == list(range(256)) and len(set(characters.values())) == 256
    assert (characters[ord(" ")], characters[ord("\n")], characters[ord("A")]) == ("Ġ", "Ċ", "A")
    assert all(character.isprintable() and not character.isspace() for character in characters.values())


@pytest.mark.parametrize("vocab_size", [257, 258, 300])
def test_the_vocabulary_has_the_size_asked_for(vocab_size: int) -> None:
    encoder, merges = train_bpe(TEXTS, vocab_size)
    assert len(encoder) == vocab_size and len(merges) == vocab_size - 257


@pytest.mark.parametrize(("texts", "size"), [([], 257), (["a"], 257), (["ab ab ab"], 259), (["aaaa aaaa"], 260)])
def test_a_tiny_corpus_gives_a_smaller_vocabulary(texts: list[str], size: int, tmp_path: Path) -> None:
    encoder, merges = train_bpe(texts, 5000)
    write_tokenizer(tmp_path, encoder, merges)
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.n_vocab == size and tokenizer.eot_token == size - 1
    assert tokenizer.decode(tokenizer.encode("any ünseen text")) == "any ünseen text"


def test_the_most_frequent_pairs_merge_first() -> None:
    _, merges = train_bpe(["low low low low lower newest newest"], 262)
    assert merges[:2] == ["l o", "lo w"] and "Ġ low" in merges


def test_no_merge_crosses_a_word_a_number_or_a_contraction() -> None:
    _, merges = train_bpe(["it's 2024x! " * 50], 400)
    tokens = {merge.replace(" ", "").removeprefix("Ġ") for merge in merges}
    assert {"it", "'s", "2024"} <= tokens
    assert all(token.isalpha() or token.isdigit() or token == "'s" for token in tokens if token), tokens


def test_the_end_of_text_in_a_corpus_is_never_a_token_of_its_own() -> None:
    encoder, merges = train_bpe([f"one{END_OF_TEXT}two " * 100], 400)
    assert encoder[END_OF_TEXT] == len(encoder) - 1
    assert END_OF_TEXT not in {merge.replace(" ", "") for merge in merges}


def test_how_a_corpus_is_cut_into_pieces_does_not_change_the_tokenizer(tmp_path: Path) -> None:
    text = TEXTS[0]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    assert train_bpe([text], 350) == train_bpe(read_documents(tmp_path), 350)
    halves = [text[: text.index(" ", 100)], text[text.index(" ", 100) :]]
    assert train_bpe([text], 350) == train_bpe(halves, 350)


def test_training_is_the_same_in_every_process_and_with_any_number_of_threads(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_bpe import TEXTS\n"
        "from scratchlm.tokenizer.bpe import train_bpe\nfrom scratchlm.tokenizer.folder import write_tokenizer\n"
        "write_tokenizer(Path(sys.argv[2]), *train_bpe(TEXTS * 20, 500))\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path / seed)],
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY / "src"),
                "PYTHONHASHSEED": seed,
                "RAYON_NUM_THREADS": threads,
            },
        )
        for seed, threads in (("0", "1"), ("12345", "4"))
    ]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    write_tokenizer(tmp_path / "here", *train_bpe(TEXTS * 20, 500))
    for name in ("encoder.json", "vocab.bpe"):
        digests = {hashlib.sha256((tmp_path / run / name).read_bytes()).digest() for run in ("0", "12345", "here")}
        assert len(digests) == 1


# --- encoding and decoding ----------------------------------------------------------------------------------


@given(text=st.text(st.characters(exclude_categories=("Cs",))) | MIXED)
def test_any_text_comes_back_from_a_trained_tokenizer(trained: BytePairTokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text, allowed_special="all")) == text
    ordinary = trained.encode_ordinary(text)
    assert trained.decode(ordinary) == text and trained.eot_token not in ordinary
    assert all(0 <= token < trained.n_vocab for token in ordinary)


@pytest.mark.parametrize("blank", [" ", "\n", "\t \u3000"])
def test_very_long_white_space_is_encoded(trained: BytePairTokenizer, blank: str) -> None:
    text = f"low{blank * 1_500_000}er"  # tiktoken's split pattern fails at a million
    assert trained.decode(trained.encode_ordinary(text)) == text
    assert trained.decode(trained.encode_ordinary_batch([text, "low"])[0]) == text
    assert trained.encode_ordinary("low") == trained.encode_ordinary_batch([text, "low"])[1]


def test_very_long_runs_are_cut_for_training() -> None:
    text = "low " + "a" * 2500 + " " * 2500 + "er"
    pieces = list(without_endless_words([text, "short text"]))
    assert "".join(pieces) == text + "short text" and max(map(len, pieces)) <= 2000 and pieces[-1] == "short text"


@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_any_two_files_are_a_tokenizer_or_refused_with_their_names(
    tmp_path_factory: pytest.TempPathFactory, encoder: bytes, merges: bytes, nearly: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    spelled = [*byte_characters().values(), END_OF_TEXT]
    (folder / "encoder.json").write_bytes(
        json.dumps({t: i for i, t in enumerate(spelled)}).encode() if nearly else encoder
    )
    (folder / "vocab.bpe").write_bytes(merges)
    try:
        found = read_tokenizer(folder)
    except InputError as error:
        assert str(folder) in str(error)
    else:
        assert found.n_vocab == 257


@given(ids=st.lists(st.integers(0, 319), max_size=30))
def test_a_stream_of_tokens_joins_to_their_text(trained: BytePairTokenizer, ids: list[int]) -> None:
    assert "".join(trained.decode_stream(ids)) == trained.decode(ids)


def test_a_character_of_several_tokens_comes_with_the_last_one(trained: BytePairTokenizer) -> None:
    ids = [trained.encode_single_token(bytes([byte])) for byte in "ä🙃b".encode()]
    assert list(trained.decode_stream(ids)) == ["", "ä", "", "", "", "🙃", "b", ""]
    assert list(trained.decode_stream(ids[:-2])) == ["", "ä", "", "", "", "�"]  # cut within a character


def test_any_text_has_tokens(trained: BytePairTokenizer) -> None:
    assert trained.unk_token is None
    assert unknown_percent(trained, ["low unseen 中 words", ""]) == 0


@pytest.mark.mirror
@given(text=st.text(st.characters(exclude_categories=("Cs",))) | MIXED)
def test_any_text_comes_back_from_gpt_2_s(gpt2: BytePairTokenizer, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text, allowed_special="all")) == text


def test_training_makes_its_own_text_shorter(trained: BytePairTokenizer) -> None:
    assert len(trained.encode(TEXTS[0])) < 0.5 * len(TEXTS[0].encode())


def slow_ids(text: str, ranks: dict[bytes, int]) -> list[int]:
    """Chapter 2.5 in the plainest way: in each word, merge the first pair of the lowest rank."""
    import regex

    ids = []
    for word in regex.findall(GPT2_SPLIT_PATTERN, text):
        parts = [bytes([byte]) for byte in word.encode()]
        while True:
            pairs = [ranks.get(one + other, len(ranks)) for one, other in pairwise(parts)]
            if not pairs or min(pairs) == len(ranks):
                break
            place = pairs.index(min(pairs))
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        ids += [ranks[part] for part in parts]
    return ids


@given(text=ASSIGNED | st.text("low erstnaïve'd12 \n", max_size=80))
def test_the_ids_are_those_of_plain_byte_pair_encoding(trained: BytePairTokenizer, text: str) -> None:
    assert trained.encode_ordinary(text) == slow_ids(text, trained._mergeable_ranks)


# --- transformers -------------------------------------------------------------------------------------------


def hugging_face(tokenizer_folder: Path, model_folder: Path) -> tuple[Any, Any]:
    """The folder as GPT2TokenizerFast and as AutoTokenizer read it."""
    from transformers import AutoTokenizer, GPT2TokenizerFast

    write_hugging_face_tokenizer(tokenizer_folder, model_folder)
    write_settings(model_folder, read_tokenizer(tokenizer_folder), 1024)
    return GPT2TokenizerFast.from_pretrained(str(model_folder)), AutoTokenizer.from_pretrained(str(model_folder))


@pytest.fixture(scope="module")
def trained_hugging_face(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return hugging_face(trained_folder, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def gpt2_hugging_face(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return hugging_face(mirror, tmp_path_factory.mktemp("model"))


def assert_same(ours: BytePairTokenizer, theirs: tuple[Any, Any], text: str) -> None:
    ids = ours.encode(text, allowed_special="all")
    for tokenizer in theirs:
        assert tokenizer(text).input_ids == ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@given(text=MIXED)
@example(text=f"a  {END_OF_TEXT}  b\x1c!\r\n{END_OF_TEXT}{END_OF_TEXT}")
def test_transformers_gives_a_trained_tokenizer_s_ids(
    trained: BytePairTokenizer, trained_hugging_face: tuple[Any, Any], text: str
) -> None:
    assert_same(trained, trained_hugging_face, text)


@pytest.mark.mirror
@given(text=MIXED)
@example(text="Akwirw ier")
def test_transformers_gives_gpt_2_s_ids(gpt2: BytePairTokenizer, gpt2_hugging_face: tuple[Any, Any], text: str) -> None:
    assert_same(gpt2, gpt2_hugging_face, text)


def test_transformers_knows_the_end_of_text(trained: BytePairTokenizer, trained_hugging_face: tuple[Any, Any]) -> None:
    for tokenizer in trained_hugging_face:
        assert len(tokenizer) == trained.n_vocab
        assert tokenizer.eos_token == tokenizer.bos_token == tokenizer.pad_token == END_OF_TEXT
        assert tokenizer.eos_token_id == trained.eot_token


def test_repetitive_texts_have_the_same_ids_in_transformers(tmp_path: Path) -> None:
    # Tokens that overlap in many ways are where two readers of merges could disagree.
    for seed in range(5):
        rng = random.Random(seed)
        words = ["".join(rng.choices("ab", k=rng.randint(1, 30))) for _ in range(300)]
        (tmp_path / str(seed)).mkdir()
        write_tokenizer(tmp_path / str(seed), *train_bpe([" ".join(words)], 350))
        ours = read_tokenizer(tmp_path / str(seed))
        (tmp_path / f"model{seed}").mkdir()
        theirs = hugging_face(tmp_path / str(seed), tmp_path / f"model{seed}")
        unseen = " ".join("".join(rng.choices("ab", k=40)) for _ in range(200))
        assert_same(ours, theirs, unseen)


def assert_equal(one: BytePairTokenizer, other: BytePairTokenizer) -> None:
    assert type(one) is type(other)
    assert one._mergeable_ranks == other._mergeable_ranks
    assert one._special_tokens == other._special_tokens


def test_a_model_folder_gives_the_same_tokenizer_back(
    trained: BytePairTokenizer, trained_folder: Path, tmp_path: Path
) -> None:
    write_hugging_face_tokenizer(trained_folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert_equal(read_hugging_face_tokenizer(tmp_path), trained)


@pytest.mark.mirror
def test_a_model_folder_gives_gpt_2_s_tokenizer_back(gpt2: BytePairTokenizer, mirror: Path, tmp_path: Path) -> None:
    write_hugging_face_tokenizer(mirror, tmp_path)
    assert_equal(read_hugging_face_tokenizer(tmp_path), gpt2)


@pytest.fixture
def old_folder(trained_folder: Path, tmp_path: Path) -> Path:
    """The tokenizer of a model folder as it was written before tokenizer.json: GPT-2's two files."""
    (tmp_path / "old").mkdir()
    for ours, theirs in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copyfile(trained_folder / ours, tmp_path / "old" / theirs)
    return tmp_path / "old"


@pytest.mark.parametrize("merges", ["a b", ["a b c"], ["中 a"], [None], [["a"]]])
def test_a_tokenizer_json_with_other_merges_is_refused(trained_folder: Path, tmp_path: Path, merges: Any) -> None:
    write_hugging_face_tokenizer(trained_folder, tmp_path)
    found = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    found["model"]["merges"] = merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(OutputError, match=r"tokenizer\.json is not a byte-level BPE that can be used"):
        read_hugging_face_tokenizer(tmp_path)


def test_a_folder_with_gpt_2_s_two_files_is_read_and_written_as_one(
    trained: BytePairTokenizer, trained_folder: Path, old_folder: Path, tmp_path: Path
) -> None:
    assert_equal(read_hugging_face_tokenizer(old_folder), trained)
    for name, folder in (("new", trained_folder), ("again", old_folder)):
        (tmp_path / name).mkdir()
        write_hugging_face_tokenizer(folder, tmp_path / name)
    one, other = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("new", "again"))
    assert one == other


def test_a_folder_as_hugging_face_has_gpt_2_is_read(
    trained: BytePairTokenizer, old_folder: Path, tmp_path: Path
) -> None:
    # All three files, and a tokenizer.json of an old form: no type, empty prefixes, pairs instead of texts.
    write_hugging_face_tokenizer(old_folder, tmp_path)
    found = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    model = found["model"]
    found["added_tokens"][0]["normalized"] = True
    found["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    found["model"] = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "vocab": model["vocab"],
        "merges": [merge.split() for merge in model["merges"]],
    }
    (old_folder / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    read = read_hugging_face_tokenizer(old_folder)
    assert read.tokens() == trained.tokens() and read.stop_ids == trained.stop_ids
    for text in (*TEXTS, f"a  {END_OF_TEXT}  b"):
        assert read.encode_ordinary(text) == trained.encode_ordinary(text)
        assert read.encode(text, allowed_special="all") == trained.encode(text, allowed_special="all")


# --- files that cannot be used ------------------------------------------------------------------------------


def damage_encoder(change: Callable[[dict[str, int]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        change(encoder)
        (folder / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")

    return damage


def damage_merges(change: Callable[[list[str]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        lines = (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()
        change(lines)
        (folder / "vocab.bpe").write_text("\n".join(lines), encoding="utf-8")

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damage_encoder(lambda encoder: encoder.pop(END_OF_TEXT)),
        damage_encoder(lambda encoder: encoder.update(extra=320)),
        damage_encoder(lambda encoder: encoder.update({END_OF_TEXT: 0, "!": 319})),
        damage_encoder(lambda encoder: encoder.pop("Ġ")),
        damage_merges(list.pop),
        damage_merges(lambda lines: lines.append("Ġ Ġ")),
        damage_merges(lambda lines: lines.append(lines[-1])),
        damage_merges(lambda lines: lines.insert(1, lines.pop(2))),
        lambda folder: (folder / "encoder.json").write_text("[]"),
        lambda folder: (folder / "encoder.json").write_text("5"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    trained_folder: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / name).write_bytes((trained_folder / name).read_bytes())
    assert read_tokenizer(tmp_path).n_vocab == 320
    damage(tmp_path)
    with pytest.raises(OutputError) as raised:
        read_tokenizer(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/encoder.json and {tmp_path}/vocab.bpe do not belong together, expected ")
    assert "\n" not in message


def test_a_token_that_spells_no_bytes_is_refused_even_where_both_files_have_it(tmp_path: Path) -> None:
    encoder = {character: rank for rank, character in enumerate(byte_characters().values())}
    write_tokenizer(tmp_path, encoder | {"t\u2603": 256, END_OF_TEXT: 257}, ["t \u2603"])
    with pytest.raises(OutputError, match="do not belong together"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("encoder.json", b'{"!": 0', " is not valid JSON .*, wanted tokens with their ids"),
        ("vocab.bpe", b"\xff\xfe", ", line 1: byte 0xff is not UTF-8, wanted merges of byte pairs"),
    ],
)
def test_a_damaged_file_is_refused(
    trained_folder: Path, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    for other in ("encoder.json", "vocab.bpe"):
        (tmp_path / other).write_bytes((trained_folder / other).read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match=name + problem):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_a_missing_file_is_named(trained_folder: Path, tmp_path: Path, name: str) -> None:
    for other in {"encoder.json", "vocab.bpe"} - {name}:
        (tmp_path / other).write_bytes((trained_folder / other).read_bytes())
    with pytest.raises(OutputError, match=f"{tmp_path / name} is missing, wanted "):
        read_tokenizer(tmp_path)


def test_files_with_windows_line_ends_are_read(
    trained: BytePairTokenizer, trained_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "encoder.json").write_bytes((trained_folder / "encoder.json").read_bytes())
    merges = (trained_folder / "vocab.bpe").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "vocab.bpe").write_bytes(merges)
    assert read_tokenizer(tmp_path)._mergeable_ranks == trained._mergeable_ranks


def test_very_long_words_are_cut_for_training_and_nothing_is_lost() -> None:
    # Training takes time quadratic in the longest word: 400,000 letters without a blank took 28 s.
    texts = ["the cat  sat\n\non the mat ", " a\n" + "x" * 2500 + "\t\n b "]
    pieces = list(without_endless_words(texts))
    assert pieces[0] == texts[0]
    assert "".join(pieces) == "".join(texts)
    assert max(len(piece.strip()) for piece in pieces[1:]) == 1000
