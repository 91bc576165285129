"""The bigram baseline equals a slow one with dictionaries, and its probabilities add up to one."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.tokens import bigram
from scratchlm.tokens.bigram import bigram_loss

VOCAB_SIZE = 7
IDS = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=2, max_size=60)


def array(ids: list[int]) -> np.ndarray:
    return np.array(ids, dtype="<u2")


def slow_loss(train: list[int], validation: list[int], vocab_size: int) -> float:
    """Witten and Bell (1991), with a dictionary of the followers of each token."""
    unigram = Counter(train)
    followers: dict[int, Counter[int]] = {}
    for one, other in pairwise(train):
        followers.setdefault(one, Counter())[other] += 1
    losses = []
    for one, other in pairwise(validation):
        share = (unigram[other] + 1) / (len(train) + vocab_size)
        if one in followers:
            counts = followers[one]
            kinds = len(counts)
            probability = (counts[other] + kinds * share) / (counts.total() + kinds)
        else:
            probability = share
        losses.append(-math.log(probability))
    return sum(losses) / len(losses)


@given(IDS, IDS)
def test_the_loss_is_that_of_slow_dictionaries(train: list[int], validation: list[int]) -> None:
    found = bigram_loss(array(train), array(validation), VOCAB_SIZE)
    assert found == pytest.approx(slow_loss(train, validation, VOCAB_SIZE), rel=1e-12)


@given(IDS, st.integers(0, VOCAB_SIZE - 1))
def test_the_probabilities_of_what_follows_a_token_add_up_to_one(train: list[int], token: int) -> None:
    losses = [bigram_loss(array(train), array([token, other]), VOCAB_SIZE) for other in range(VOCAB_SIZE)]
    assert math.fsum(math.exp(-loss) for loss in losses) == pytest.approx(1, rel=1e-12)


@given(IDS, IDS, st.integers(1, 9))
def test_counting_in_chunks_gives_the_same_loss(train: list[int], validation: list[int], chunk: int) -> None:
    whole = bigram_loss(array(train), array(validation), VOCAB_SIZE)
    with patch.object(bigram, "CHUNK_TOKENS", chunk):
        assert bigram_loss(array(train), array(validation), VOCAB_SIZE) == pytest.approx(whole, rel=1e-12)


def test_pairs_of_a_large_vocabulary_do_not_overflow() -> None:
    vocab_size = 1_000_000
    ids = np.array([999_999, 999_998, 999_999, 0, 999_999, 999_998], dtype="<u4")
    expected = slow_loss(ids.tolist(), ids.tolist(), vocab_size)
    assert bigram_loss(ids, ids, vocab_size) == pytest.approx(expected, rel=1e-12)


def test_a_rhyme_is_easier_than_noise_and_noise_no_easier_than_chance() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 50, 20_000).astype("<u2")
    rhyme = np.tile(np.arange(50), 400).astype("<u2")
    assert bigram_loss(rhyme[:18_000], rhyme[18_000:], 50) < 0.05
    assert bigram_loss(noise[:18_000], noise[18_000:], 50) > math.log(50)


def test_ids_mapped_from_a_file_are_counted_as_an_array(tmp_path: Path) -> None:
    ids = np.random.default_rng(2).integers(0, 100, 5000).astype("<u2")
    ids.tofile(tmp_path / "ids.bin")
    mapped = np.memmap(tmp_path / "ids.bin", dtype="<u2", mode="r")
    assert bigram_loss(mapped[:4000], mapped[4000:], 100) == bigram_loss(ids[:4000], ids[4000:], 100)
