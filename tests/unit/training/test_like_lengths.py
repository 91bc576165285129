"""Batches of like lengths: little padding, every example as often as without them, and as random as they can be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_trainings import tiny_model

from scratchlm.assistant.batches import Example, collate, n_inputs
from scratchlm.training.like_lengths import LikeLengths
from scratchlm.training.loaders import loaders
from scratchlm.training.loss import next_token_loss
from scratchlm.training.measuring import loss_per_target

BATCH_SIZE = 8
LENGTHS = [random.Random(n).randint(40, 90) for n in range(935)]  # as many and as long as the book's instructions


def padding(batches: Sequence[Sequence[int]]) -> float:
    """Return the share of a pass's tokens that are padding."""
    tokens = sum(LENGTHS[number] for batch in batches for number in batch)
    return 1 - tokens / sum(len(batch) * max(LENGTHS[number] for number in batch) for batch in batches)


def drawn(seed: int, *, shuffle: bool = True) -> list[list[int]]:
    torch.manual_seed(seed)
    return list(LikeLengths(LENGTHS, BATCH_SIZE, shuffle=shuffle))


def test_a_fifth_of_the_tokens_is_padding_without_it_and_a_fiftieth_at_most_with_it() -> None:
    unsorted = [list(range(n, n + BATCH_SIZE)) for n in range(0, 928, BATCH_SIZE)]
    assert padding(unsorted) > 0.2
    assert padding(drawn(1)) < 0.02
    assert padding(drawn(1, shuffle=False)) < 0.02


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 7), st.booleans())
def test_each_example_is_in_one_batch_of_a_pass(lengths: list[int], batch_size: int, shuffle: bool) -> None:
    sampler = LikeLengths(lengths, batch_size, shuffle=shuffle)
    batches = list(sampler)
    numbers = [number for batch in batches for number in batch]
    assert len(batches) == len(sampler) == len(lengths) // batch_size + bool(len(lengths) % batch_size and not shuffle)
    assert len(set(numbers)) == len(numbers) and set(numbers) <= set(range(len(lengths)))
    if shuffle:
        assert all(len(batch) == batch_size for batch in batches)
    else:
        assert len(numbers) == len(lengths)


def test_the_seed_decides_the_batches_and_each_pass_has_others() -> None:
    torch.manual_seed(1)
    sampler = LikeLengths(LENGTHS, BATCH_SIZE, shuffle=True)
    passes = [list(sampler) for _ in range(20)]
    assert passes[0] == drawn(1)
    assert len({tuple(map(tuple, batches)) for batches in passes}) == 20
    left_out = [set(range(935)) - {number for batch in batches for number in batch} for batches in passes]
    assert len(set.union(*left_out)) > 100  # 7 of 935 each time
    met = Counter(number for batches in passes for batch in batches if 0 in batch for number in batch)
    assert max(count for number, count in met.items() if number) < 10  # nobody stays beside the first one


def test_the_order_of_the_batches_does_not_follow_their_lengths() -> None:
    lengths = torch.tensor([[float(number), float(LENGTHS[batch[0]])] for number, batch in enumerate(drawn(1))])
    assert torch.corrcoef(lengths.T)[0, 1].abs() < 0.2
    longest = [max(LENGTHS[number] for number in batch) for batch in drawn(1)]
    assert sum(a < b for a, b in pairwise(longest)) > 40  # neither rising nor falling


def test_a_pass_draws_no_more_after_its_first_batch() -> None:
    """An interrupted epoch is drawn again up to its next batch; dropout has drawn in between."""
    torch.manual_seed(1)
    rest = iter(LikeLengths(LENGTHS, BATCH_SIZE, shuffle=True))
    assert [next(rest)] == drawn(1)[:1]
    torch.manual_seed(2)
    assert list(rest) == drawn(1)[1:]


def test_the_first_batches_of_validation_are_neither_short_nor_long() -> None:
    batches = drawn(1, shuffle=False)
    assert batches == drawn(2, shuffle=False) == sorted(batches)
    first = [LENGTHS[number] for batch in batches[:8] for number in batch]
    assert abs(sum(first) / len(first) - sum(LENGTHS) / len(LENGTHS)) < 8 and max(first) - min(first) > 30


def test_without_lengths_the_batches_are_in_the_given_order() -> None:
    assert list(LikeLengths([0] * 20, 8, shuffle=False)) == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]


def test_the_validation_loss_per_target_is_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    examples = [Example(torch.randint(39, (length % 20 + 2,), generator=generator).tolist(), 1) for length in LENGTHS]
    pad = partial(collate, pad_id=39, max_length=18, mask_prompt=True)
    plain, like = (
        loaders(examples, examples[:75], BATCH_SIZE, pad, length) for length in (None, partial(n_inputs, max_length=18))
    )
    losses = [loss_per_target(tiny_model(0.0), next_token_loss, each.validation) for each in (plain, like)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    sizes = [sum(inputs.numel() for inputs, _ in each.validation) for each in (plain, like)]
    assert sizes[1] < 0.7 * sizes[0]
    widths = [{inputs.shape[1] for inputs, _ in each.train} for each in (plain, like)]
    assert max(widths[1]) == 18 and min(widths[1]) < min(widths[0])
    assert len(plain.train) == len(like.train) == 116
