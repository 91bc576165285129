"""Batched, cached generation against the readable, uncached one."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import ARCHITECTURES, config_of

from scratchlm.generation import decode as generation
from scratchlm.generation.decode import (
    Continuation,
    Sampling,
    batches_by_length,
    choose,
    decode,
    generate,
    generate_uncached,
)
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel

GREEDY = Sampling()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(3)
    made = new_model(config_of(request.param, 60, 40, 32, 4, 2, 0.0, tie_embeddings=False), "gpt2").eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    torch.manual_seed(4)
    return [torch.randint(60, (length,)).tolist() for length in (3, 17, 1, 8, 8, 25, 2, 11)]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_cached_batches_give_the_same_as_the_uncached_reference(
    model: LanguageModel, prompts: list[list[int]], batch_size: int
) -> None:
    continuations = generate(model, prompts, 12, (), GREEDY, batch_size)
    assert [c.ids for c in continuations] == [generate_uncached(model, prompt, 12) for prompt in prompts]


@pytest.mark.parametrize("prefill_tokens", [1, 12, 30, 1000])
def test_the_number_of_prompts_per_prefill_makes_no_difference(
    model: LanguageModel, prompts: list[list[int]], prefill_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "PREFILL_TOKENS", prefill_tokens)
    answers: list[list[int]] = [[] for _ in prompts]
    for row, token in decode(model, prompts, 12, (), GREEDY, range(8)):  # not sorted by length as in `generate`
        answers[row].append(token)
    assert answers == [generate_uncached(model, prompt, 12) for prompt in prompts]


def test_every_answer_comes_back_at_its_prompts_place(model: LanguageModel) -> None:
    prompts = [[number] * (1 + (7 * number) % 11) for number in range(40)]
    alone = [generate(model, [prompt], 6, (), GREEDY, 1)[0] for prompt in prompts]
    assert generate(model, prompts, 6, (), GREEDY, 7) == alone
    assert len({tuple(given.ids) for given in alone}) > 20


def test_batches_hold_every_prompt_once_the_longest_first(prompts: list[list[int]]) -> None:
    batches = batches_by_length(prompts, 3)
    assert [len(numbers) for numbers in batches] == [3, 3, 2]
    in_order = [number for numbers in batches for number in numbers]
    assert sorted(in_order) == list(range(len(prompts)))
    assert [len(prompts[number]) for number in in_order] == sorted(map(len, prompts), reverse=True)


def test_in_bfloat16_the_text_is_that_of_float32_where_the_choice_is_clear(
    model: LanguageModel, prompts: list[list[int]]
) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    together = generate(half, prompts, 12, (), GREEDY, 32)
    n_same = 0
    for prompt, continuation in zip(prompts, together, strict=True):
        assert len(continuation.ids) == 12
        for end, token in enumerate(continuation.ids):
            with torch.no_grad():
                logits_V = model(torch.tensor([prompt + continuation.ids[:end]]))[0, -1]
            # 8 bits of precision: logits differ by about a hundredth of their size.
            assert logits_V[token] > logits_V.max() - 0.05 * logits_V.abs().max()
            n_same += int(logits_V.argmax()) == token
    assert n_same > 0.9 * 12 * len(prompts)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_each_row_stops_at_its_own_end_of_text(model: LanguageModel, prompts: list[list[int]], batch_size: int) -> None:
    free = [generate_uncached(model, prompt, 12) for prompt in prompts]
    stop_id = free[1][4]  # a token that some rows reach, at different places, and others never
    expected = [
        Continuation(ids[: ids.index(stop_id)], True) if stop_id in ids else Continuation(ids, False) for ids in free
    ]
    assert {given.stopped for given in expected} == {True, False}
    assert generate(model, prompts, 12, {stop_id}, GREEDY, batch_size) == expected


def test_prompt_and_answer_never_pass_the_context(model: LanguageModel) -> None:
    prompts = [[1] * 38, [2] * 5, [3] * 40, [4] * 41, [5] * 39]
    for batch_size in (1, 2, 8):
        continuations = generate(model, prompts, 30, (), GREEDY, batch_size)
        assert [len(given.ids) for given in continuations] == [2, 30, 0, 0, 1]
        assert {given.stopped for given in continuations} == {False}


def test_one_prompt_at_a_temperature_draws_as_the_reference(model: LanguageModel) -> None:
    sampling = Sampling(temperature=1.3, top_k=10, seed=123)
    assert generate(model, [[5, 6]], 20, (), sampling, 1)[0].ids == generate_uncached(model, [5, 6], 20, sampling)


def test_sampling_repeats_with_its_seed_and_changes_with_another(
    model: LanguageModel, prompts: list[list[int]]
) -> None:
    first, again, other = (generate(model, prompts, 12, (), Sampling(1.0, None, seed), 4) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_what_is_drawn_for_a_prompt_does_not_depend_on_its_batch(model: LanguageModel, batch_size: int) -> None:
    prompts, sampling = [[5, 6]] * 4 + [[7] * 9], Sampling(temperature=1.0, top_k=None, seed=9)
    drawn = [given.ids for given in generate(model, prompts, 12, (), sampling, batch_size)]
    assert len({tuple(ids) for ids in drawn}) == 5
    assert drawn == [
        generate_uncached(model, prompt, 12, Sampling(1.0, None, seed=9 + number))
        for number, prompt in enumerate(prompts)
    ]


def test_top_k_draws_only_from_the_k_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).repeat(500, 1)
    drawn = choose(logits, Sampling(temperature=5.0, top_k=2), [torch.Generator().manual_seed(0)] * 500)
    assert set(drawn.tolist()) == {1, 2}


def test_top_k_above_the_vocabulary_keeps_every_token() -> None:
    logits = torch.zeros(500, 3)
    drawn = choose(logits, Sampling(temperature=1.0, top_k=50), [torch.Generator().manual_seed(0)] * 500)
    assert set(drawn.tolist()) == {0, 1, 2}


def test_the_stream_yields_tokens_as_they_come(model: LanguageModel) -> None:
    stream = decode(model, [[1, 2, 3]], 5, (), GREEDY)
    assert next(stream) == (0, generate_uncached(model, [1, 2, 3], 1)[0])
