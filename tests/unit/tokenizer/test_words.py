"""Words as tokens: the book's ids, what is lost and what is kept, and the same ids in transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from scratchlm.bases.own import copy_checkpoint
from scratchlm.checkpoint.folder import check_vocabulary, load, save_checkpoint
from scratchlm.corpus import documents
from scratchlm.corpus.documents import read_documents
from scratchlm.errors import InputError, OutputError
from scratchlm.generation.decode import Sampling, generate, generate_text
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import (
    read_hugging_face_tokenizer,
    read_tokenizer,
    write_hugging_face_tokenizer,
    write_tokenizer,
)
from scratchlm.tokenizer.measures import unknown_percent
from scratchlm.tokenizer.protocol import END_OF_TEXT, UNKNOWN
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary, split_words, write_vocabulary

REPOSITORY = Path(__file__).parents[3]
MARKS = [*",.:;?_!\"()'", "--"]
TEXT = 'The cat -- a good cat, it\'s said -- sat. "Why?" (said_he): sat; no! -x - 中'
N_VOCAB = 26 + 2  # different words and marks, and the special tokens
PIECES = st.sampled_from(
    [
        *MARKS,
        *(" ", "  ", "\n", "\t", "\x1c", "\x1f", "\x85", "\xa0", "\u3000", "\u200b", "-", "---", "----"),
        *("cat", "sat", "dog", "中", "É", "e\u0301", "\U0001f600", "<|", "|>", "endoftext", END_OF_TEXT, UNKNOWN),
    ]
)
ANY_TEXT = st.lists(PIECES, max_size=12).map("".join) | st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, int]:
    return build_vocabulary([TEXT], 1000)


@pytest.fixture(scope="module")
def words(vocabulary: dict[str, int]) -> WordTokenizer:
    return WordTokenizer(vocabulary)


@pytest.fixture(scope="module")
def folder(vocabulary: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer as build_tokenizer writes it."""
    folder = tmp_path_factory.mktemp("words")
    write_vocabulary(folder, vocabulary)
    return folder


def known_words_only(vocabulary: dict[str, int]) -> WordTokenizer:
    """The book's first version: no special tokens."""
    return WordTokenizer({token: index for token, index in vocabulary.items() if token not in (END_OF_TEXT, UNKNOWN)})


# --- the book -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verdict(mirror: Path) -> str:
    return (mirror / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.mark.mirror
def test_the_verdict_has_the_book_s_tokens_and_words(verdict: str) -> None:
    assert len(split_words(verdict)) == 4690
    assert len(set(split_words(verdict))) == 1130
    vocabulary = build_vocabulary([verdict], 50_000)
    assert len(vocabulary) == 1132
    assert (vocabulary[END_OF_TEXT], vocabulary[UNKNOWN]) == (1130, 1131)
    assert list(vocabulary.values()) == list(range(1132))


@pytest.mark.mirror
def test_the_second_version_gives_the_book_s_ids_and_text(verdict: str) -> None:
    tokenizer = WordTokenizer(build_vocabulary([verdict], 50_000))
    text = f"Hello, do you like tea? {END_OF_TEXT} In the sunlit terraces of the palace."
    ids = [1131, 5, 355, 1126, 628, 975, 10, 1130, 55, 988, 956, 984, 722, 988, 1131, 7]
    assert tokenizer.encode(text, allowed_special="all") == ids
    assert tokenizer.decode(ids) == text.replace("Hello", UNKNOWN).replace("palace", UNKNOWN)


@pytest.mark.mirror
def test_the_first_version_knows_the_story_and_no_other_word(verdict: str) -> None:
    vocabulary = build_vocabulary([verdict], 50_000)
    first, second = known_words_only(vocabulary), WordTokenizer(vocabulary)
    assert first.n_vocab == 1130
    assert first.encode_ordinary(verdict) == second.encode_ordinary(verdict)
    assert split_words(first.decode(first.encode_ordinary(verdict))) == split_words(verdict)
    with pytest.raises(InputError, match="the word 'Hello' is not among the 1130 tokens"):
        first.encode_ordinary("Hello, do you like tea?")


# --- splitting ----------------------------------------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    """The rule character by character."""
    words, word, position = [], "", 0
    while position < len(text):
        mark = next((mark for mark in MARKS if text.startswith(mark, position)), "")
        if mark or text[position].isspace():
            words += [part for part in (word, mark) if part]
            word, position = "", position + max(1, len(mark))
        else:
            word, position = word + text[position], position + 1
    return [*words, word] if word else words


@given(text=ANY_TEXT)
@example(text="a---b----c-- d-e")
@example(text="it's\x1c_snake_case_ (5.50)...")
def test_words_and_marks_are_split_by_the_rule(text: str) -> None:
    assert split_words(text) == slow_words(text)


def test_marks_are_tokens_and_white_space_is_not() -> None:
    assert split_words(' "No--no,"\n\nhe said_(twice); a well-known\u3000--- rule: 1.5!? ') == [
        *('"', "No", "--", "no", ",", '"', "he", "said", "_", "(", "twice", ")", ";", "a", "well-known", "--", "-"),
        *("rule", ":", "1", ".", "5", "!", "?"),
    ]
    assert split_words("") == split_words(" \n\t") == []


# --- the vocabulary -----------------------------------------------------------------------------------------


def test_the_vocabulary_is_sorted_and_the_special_tokens_come_last() -> None:
    assert list(build_vocabulary(["b a, B", "a é"], 100)) == [",", "B", "a", "b", "é", END_OF_TEXT, UNKNOWN]


def test_the_most_frequent_words_are_kept_and_among_equal_ones_the_first() -> None:
    text = "z z z d c b a x x"
    assert list(build_vocabulary([text], 6)) == ["a", "b", "x", "z", END_OF_TEXT, UNKNOWN]
    assert list(build_vocabulary([" ".join(reversed(text.split()))], 6)) == ["a", "b", "x", "z", END_OF_TEXT, UNKNOWN]
    assert list(build_vocabulary([text], 3)) == ["z", END_OF_TEXT, UNKNOWN]


def test_special_tokens_in_a_corpus_are_not_words() -> None:
    text = f"one{END_OF_TEXT}two {UNKNOWN} {END_OF_TEXT}."
    assert list(build_vocabulary([text], 100)) == [".", "one", "two", END_OF_TEXT, UNKNOWN]


@given(text=ANY_TEXT.map(lambda text: text * 3), read=st.integers(1, 12), vocab_size=st.integers(3, 12))
def test_the_pieces_in_which_a_corpus_is_read_do_not_change_the_vocabulary(
    tmp_path_factory: pytest.TempPathFactory, text: str, read: int, vocab_size: int
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    with patch.object(documents, "READ_CHARACTERS", read):
        assert list(build_vocabulary(read_documents(folder), vocab_size)) == list(build_vocabulary([text], vocab_size))


# --- encoding and decoding ----------------------------------------------------------------------------------


def test_unknown_words_become_the_unknown_token_and_the_first_version_names_them(
    words: WordTokenizer, vocabulary: dict[str, int]
) -> None:
    assert words.encode_ordinary("The dog sat.") == [vocabulary[token] for token in ("The", UNKNOWN, "sat", ".")]
    first = known_words_only(vocabulary)
    assert first.unk_token is None
    assert first.encode_ordinary("The cat sat.") == [vocabulary[token] for token in ("The", "cat", "sat", ".")]
    for encode in (first.encode_ordinary, lambda text: first.encode(text, allowed_special="all")):
        with pytest.raises(InputError) as raised:
            encode("The dog sat on it.")
        assert str(raised.value) == (
            f"the word 'dog' is not among the {first.n_vocab} tokens of the vocabulary: use words of the corpus it was "
            f"made from, or a vocabulary with {UNKNOWN}"
        )
    with pytest.raises(InputError, match=r"the word '<\|endoftext\|>' is not among"):
        first.encode(END_OF_TEXT, allowed_special="all")


def test_the_end_of_text_is_a_token_only_where_it_is_allowed(words: WordTokenizer) -> None:
    cat, unknown, end = words.encode_ordinary("cat")[0], words.unk_token, words.eot_token
    assert (end, unknown, words.n_vocab) == (N_VOCAB - 2, N_VOCAB - 1, N_VOCAB)
    text = f"cat{END_OF_TEXT}cat {END_OF_TEXT} {UNKNOWN}"
    assert words.encode_ordinary(text) == [unknown, unknown, unknown]
    assert words.encode(text, allowed_special=set()) == [unknown, unknown, unknown]
    assert words.encode(text, allowed_special={END_OF_TEXT}) == [cat, end, cat, end, unknown]
    assert words.encode(f"cat{UNKNOWN}cat", allowed_special={END_OF_TEXT}) == [unknown]
    assert words.encode(f"cat{UNKNOWN}cat", allowed_special="all") == [cat, unknown, cat]


@given(text=ANY_TEXT)
def test_every_way_to_encode_gives_the_same_ids(words: WordTokenizer, text: str) -> None:
    array = words.encode_to_numpy(text, allowed_special={END_OF_TEXT})
    assert array.dtype == "uint32"
    assert array.tolist() == words.encode(text, allowed_special={END_OF_TEXT})
    assert words.encode_ordinary_batch([text, "cat", text])[2] == words.encode_ordinary(text)
    assert words.encode(text, allowed_special=set()) == words.encode_ordinary(text)


@given(text=ANY_TEXT)
@example(text=f"cat{END_OF_TEXT}, ({END_OF_TEXT}) {UNKNOWN}'s")
def test_decoded_text_has_the_same_ids_again(words: WordTokenizer, text: str) -> None:
    ids = words.encode_ordinary(text)
    assert words.encode_ordinary(words.decode(ids)) == ids
    ids = words.encode(text, allowed_special="all")
    assert words.encode(words.decode(ids), allowed_special="all") == ids


def slow_text(tokens: list[str]) -> str:
    """The rule in two steps: a blank between all tokens, then none before a mark."""
    text = " ".join(tokens)
    for mark in ",.:;?!\"()'":
        text = text.replace(f" {mark}", mark)
    return text


@given(ids=st.lists(st.integers(0, N_VOCAB - 1), max_size=30))
def test_decoding_puts_no_blank_before_punctuation(
    words: WordTokenizer, vocabulary: dict[str, int], ids: list[int]
) -> None:
    assert words.decode(ids) == slow_text([list(vocabulary)[index] for index in ids])


def test_underscores_and_dashes_keep_their_blanks(words: WordTokenizer) -> None:
    assert words.decode(words.encode_ordinary(TEXT)) == (
        'The cat -- a good cat, it\' s said -- sat." Why?"( said _ he): sat; no! -x - 中'
    )


def test_a_stream_of_tokens_is_decoded_as_each_one_comes(words: WordTokenizer) -> None:
    asked = []

    def tokens() -> Iterator[int]:
        for index in words.encode_ordinary("The cat, the -- cat."):
            asked.append(index)
            yield index

    seen = [(piece, len(asked)) for piece in words.decode_stream(tokens())]
    pieces = ["The", " cat", ",", f" {UNKNOWN}", " --", " cat", "."]
    assert seen == [(piece, number) for number, piece in enumerate(pieces, start=1)]


def test_the_share_of_unknown_words_is_in_percent_of_all_tokens(words: WordTokenizer) -> None:
    assert unknown_percent(words, ["The cat sat", "The dog ran home."]) == 100 * 3 / 8
    assert unknown_percent(words, [TEXT, f"{END_OF_TEXT} {UNKNOWN}"]) == 100 * 2 / (len(split_words(TEXT)) + 2)


# --- files --------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_one_readable_file(folder: Path, vocabulary: dict[str, int]) -> None:
    assert [path.name for path in folder.iterdir()] == ["vocabulary.json"]
    lines = (folder / "vocabulary.json").read_text(encoding="utf-8").splitlines()
    assert lines[1] == '  "!": 0,' and lines[-3:-1] == [
        f'  "{END_OF_TEXT}": {len(vocabulary) - 2},',
        f'  "{UNKNOWN}": {len(vocabulary) - 1}',
    ]
    tokenizer = read_tokenizer(folder)
    assert isinstance(tokenizer, WordTokenizer) and tokenizer.vocabulary == vocabulary


def test_the_files_have_the_same_bytes_in_every_process(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from scratchlm.tokenizer.folder import write_hugging_face_tokenizer\n"
        "from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary\n"
        "folder = Path(sys.argv[1])\n"
        "write_vocabulary(folder, build_vocabulary([sys.argv[2]], 15))\n"
        "write_hugging_face_tokenizer(folder, folder)\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / seed), TEXT],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONHASHSEED": seed},
        )
        for seed in ("0", "12345")
    ]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    for name in ("vocabulary.json", "tokenizer.json"):
        one, other = ((tmp_path / seed / name).read_bytes() for seed in ("0", "12345"))
        assert one == other


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """Change the vocabulary in either file."""

    def damage(text: str) -> str:
        found = json.loads(text)
        change(found["model"]["vocab"] if "model" in found else found)
        return json.dumps(found)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damaged(lambda vocabulary: vocabulary.pop(UNKNOWN)),
        damaged(lambda vocabulary: vocabulary.pop("cat")),
        damaged(lambda vocabulary: vocabulary.update(extra=len(vocabulary))),
        damaged(lambda vocabulary: vocabulary.update({END_OF_TEXT: 0, "!": len(vocabulary) - 2})),
        damaged(lambda vocabulary: vocabulary.update(cat="5")),
        damaged(lambda vocabulary: vocabulary.clear()),
        lambda text: "[]",
        lambda text: "5",
        lambda text: '{"model": null}',
        lambda text: '{"model": {"vocab": ["cat"]}}',
    ],
)
@pytest.mark.parametrize("name", ["vocabulary.json", "tokenizer.json"])
def test_a_file_that_is_not_a_vocabulary_of_words_is_refused(
    folder: Path, tmp_path: Path, name: str, damage: Callable[[str], str]
) -> None:
    (tmp_path / "vocabulary.json").write_bytes((folder / "vocabulary.json").read_bytes())
    write_hugging_face_tokenizer(folder, tmp_path)
    read = read_tokenizer if name == "vocabulary.json" else read_hugging_face_tokenizer
    assert read(tmp_path).n_vocab == N_VOCAB
    (tmp_path / name).write_text(damage((tmp_path / name).read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(OutputError) as raised:
        read(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path / name} is not a vocabulary of words, expected words with the ids 0, 1, 2 and so on, then "
        f"{END_OF_TEXT} and {UNKNOWN}"
    )


@pytest.mark.parametrize(
    ("content", "problem"), [(b'{"a": 0', " is not valid JSON "), (b"\xff\xfe", ", line 1: byte 0xff")]
)
@pytest.mark.parametrize("name", ["vocabulary.json", "tokenizer.json"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    read = read_tokenizer if name == "vocabulary.json" else read_hugging_face_tokenizer
    with pytest.raises(OutputError, match=f"{name}{problem}.*, wanted a (vocabulary of words|tokenizer)"):
        read(tmp_path)


# --- model folders ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(folder: Path, words: WordTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = new_model(GPTConfig(words.n_vocab, 32, 16, 2, 1, 0.0, qkv_bias=False, tie_embeddings=False), "book")
    model_folder = tmp_path_factory.mktemp("model") / "model"
    save_checkpoint(model_folder, model, folder)
    return model_folder


@pytest.fixture(scope="module")
def theirs(model_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model_folder))


@given(text=ANY_TEXT)
@example(text=f"The cat{END_OF_TEXT}sat.{UNKNOWN}{END_OF_TEXT} {END_OF_TEXT}\x1f! (no dog's) --- x")
@example(text="".join(f"cat{chr(code)}" for code in range(0x3100) if chr(code).isspace() or code < 0x100))
def test_transformers_gives_the_same_ids_and_text(words: WordTokenizer, theirs: Any, text: str) -> None:
    ids = words.encode(text, allowed_special="all")
    assert theirs(text).input_ids == ids
    assert theirs.decode(ids) == words.decode(ids)


def test_transformers_counts_the_same_characters_as_white_space(words: WordTokenizer, theirs: Any) -> None:
    text = "".join(f"cat{chr(code)}" for code in range(0x11000) if not 0xD800 <= code < 0xE000)
    assert theirs(text).input_ids == words.encode_ordinary(text)


def test_transformers_knows_the_special_tokens(words: WordTokenizer, theirs: Any) -> None:
    assert len(theirs) == words.n_vocab
    assert (theirs.eos_token_id, theirs.bos_token_id) == (words.eot_token, words.eot_token)
    assert theirs.unk_token_id == words.unk_token
    assert theirs.decode([2, words.eot_token, 3], skip_special_tokens=True) == words.decode([2, 3])


def test_a_model_folder_gives_the_same_tokenizer_back(model_folder: Path, words: WordTokenizer) -> None:
    _, tokenizer = load(model_folder)
    assert isinstance(tokenizer, WordTokenizer) and tokenizer.vocabulary == words.vocabulary
    assert sorted(path.name for path in model_folder.iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    ]


def test_a_model_s_configuration_names_the_end_of_text(model_folder: Path, words: WordTokenizer) -> None:
    from transformers import GPT2LMHeadModel

    config = GPT2LMHeadModel.from_pretrained(model_folder).config
    assert config.eos_token_id == config.bos_token_id == words.eot_token == words.n_vocab - 2


def test_a_model_of_words_is_copied_and_refuses_a_tokenizer_of_another_kind(
    model_folder: Path, folder: Path, tmp_path: Path
) -> None:
    copy_checkpoint(model_folder, tmp_path / "copy")
    check_vocabulary(tmp_path / "copy", read_tokenizer(folder))
    text = " ".join(f"w{number}" for number in range(400))
    write_vocabulary(tmp_path / "many", build_vocabulary([text], 280))
    write_tokenizer(tmp_path / "bpe", *train_bpe([text], 280))
    with pytest.raises(InputError, match=f"has {N_VOCAB} tokens, the tokenizer 280"):
        check_vocabulary(model_folder, read_tokenizer(tmp_path / "many"))
    save_checkpoint(tmp_path / "model", new_model(GPTConfig(280, 8, 8, 1, 1), "book"), tmp_path / "many")
    with pytest.raises(InputError, match="ends its texts with token 278, the tokenizer with 279"):
        check_vocabulary(tmp_path / "model", read_tokenizer(tmp_path / "bpe"))


def test_a_continued_text_is_joined_like_any_other(model_folder: Path) -> None:
    model, tokenizer = load(model_folder)
    prompt = "The dog sat"
    ids = tokenizer.encode_ordinary(prompt)
    for seed in range(5):
        sampling = Sampling(temperature=1.0, seed=seed)
        new_ids = generate(model, [ids], 12, (), sampling, batch_size=1)[0].ids
        text = generate_text(model, tokenizer, prompt, 12, sampling)
        assert text.startswith(f"The {UNKNOWN} sat")
        assert tokenizer.encode(text, allowed_special="all") == ids + new_ids


def test_a_prompt_without_words_says_so(model_folder: Path) -> None:
    model, tokenizer = load(model_folder)
    with pytest.raises(InputError, match=r"the prompt ' \\n' has no tokens to continue: give a text with words in it"):
        generate_text(model, tokenizer, " \n", 5, Sampling())
