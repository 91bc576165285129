"""Measures of tokenized texts: lengths, unknown tokens and characters per token, against plain counting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlm.tokenizer import measures
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.measures import characters_per_token, longest_tokens, measure_texts, unknown_percent
from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

TEXTS = ["the cat sat", "", "the dog ran over the green hill", "a zebra"]


@pytest.fixture(params=["bpe", "word"])
def tokenizer(request: pytest.FixtureRequest, tokenizer_folder: Path) -> Tokenizer:
    if request.param == "bpe":
        return read_tokenizer(tokenizer_folder)
    return WordTokenizer(build_vocabulary(["the cat sat on the mat and the dog ran"], 100))


def test_the_longest_text_has_the_most_tokens(tokenizer: Tokenizer) -> None:
    lengths = [len(tokenizer.encode_ordinary(text)) for text in TEXTS]
    assert longest_tokens(tokenizer, TEXTS) == lengths[2] == max(lengths)


def test_unknown_tokens_are_counted_in_all_texts_together(tokenizer: Tokenizer) -> None:
    ids = [index for text in TEXTS for index in tokenizer.encode_ordinary(text)]
    assert unknown_percent(tokenizer, TEXTS) == 100 * ids.count(tokenizer.unk_token) / len(ids)


def test_characters_per_token_do_not_depend_on_the_pieces(tokenizer: Tokenizer) -> None:
    pieces = ["the cat sat", " on the mat", f" and the dog{END_OF_TEXT}the hill"]
    whole = "".join(pieces)
    wanted = len(whole) / len(tokenizer.encode(whole, allowed_special="all"))
    assert characters_per_token(tokenizer, iter(pieces)) == characters_per_token(tokenizer, [whole]) == wanted > 1


def test_only_the_beginning_of_a_large_corpus_is_measured(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "MEASURED_CHARACTERS", 20)

    def pieces() -> Iterator[str]:
        yield from TEXTS[:3]
        pytest.fail("more of the corpus was read than is measured")

    assert characters_per_token(tokenizer, pieces()) == characters_per_token(tokenizer, TEXTS[:3])


def test_the_measures_of_a_stage_are_of_all_splits_but_unknown_tokens_of_train(tokenizer: Tokenizer) -> None:
    texts = {"train": TEXTS, "validation": ["the zebra"], "test": ["the cat sat on the mat and the dog ran " * 3]}
    assert measure_texts(tokenizer, texts) == {
        "longest_tokens": longest_tokens(tokenizer, texts["test"]),
        "unknown_percent": unknown_percent(tokenizer, TEXTS),
    }
