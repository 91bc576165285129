"""Generation keeps its limits for any input, and a continuation does not depend on the batch."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scratchlm.errors import InputError
from scratchlm.generation.decode import Continuation, Sampling, generate
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model

VOCAB_SIZE, CONTEXT = 30, 16

TOKENS = st.integers(0, VOCAB_SIZE - 1)
LENGTHS = st.integers(1, CONTEXT + 2) | st.integers(CONTEXT - 1, CONTEXT + 1)
PROMPTS = st.lists(LENGTHS.flatmap(lambda n: st.lists(TOKENS, min_size=n, max_size=n)), min_size=1, max_size=5)
SAMPLING = st.builds(
    Sampling, st.sampled_from([0.0, 0.01, 1.0, 100.0]), st.none() | st.integers(1, VOCAB_SIZE + 9), st.integers(0, 9)
)
NEW_TOKENS = st.integers(1, CONTEXT + 9)


@pytest.fixture(scope="module")
def model() -> GPT:
    """A tiny model in double precision, so that rounding never decides between two tokens."""
    torch.manual_seed(3)
    return new_model(GPTConfig(VOCAB_SIZE, CONTEXT, 16, 2, 2), "gpt2", init_std=0.5).double().eval()


def room_of(prompt: list[int], max_new_tokens: int) -> int:
    return max(0, min(max_new_tokens, CONTEXT - len(prompt)))


@given(PROMPTS, NEW_TOKENS, SAMPLING, st.integers(1, 6))
@settings(max_examples=20)
def test_the_model_never_sees_more_than_its_context(
    model: GPT, prompts: list[list[int]], max_new_tokens: int, sampling: Sampling, batch_size: int
) -> None:
    seen: list[int] = []

    def note(position_embedding: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        seen.extend(inputs[0].flatten().tolist())

    hook = model.wpe.register_forward_pre_hook(note)
    try:
        continuations = generate(model, prompts, max_new_tokens, (), sampling, batch_size)
    finally:
        hook.remove()
    rooms = [room_of(prompt, max_new_tokens) for prompt in prompts]
    assert [len(continuation.ids) for continuation in continuations] == rooms
    # The last token that is chosen never enters the model.
    looked_at = [len(prompt) + room - 1 for prompt, room in zip(prompts, rooms, strict=True) if room]
    assert max(seen, default=-1) == max(looked_at, default=0) - 1 < CONTEXT - 1


@given(PROMPTS, NEW_TOKENS, SAMPLING, st.none() | st.integers(0, VOCAB_SIZE - 1), st.integers(1, 6))
@settings(max_examples=20)
def test_a_prompt_in_a_batch_is_continued_as_it_is_alone(
    model: GPT,
    prompts: list[list[int]],
    max_new_tokens: int,
    sampling: Sampling,
    stop_id: int | None,
    batch_size: int,
) -> None:
    alone = [
        # A prompt's number is part of its seed.
        generate(model, [prompt], max_new_tokens, {stop_id}, Sampling(sampling.temperature, sampling.top_k, seed), 1)[0]
        for seed, prompt in enumerate(prompts, sampling.seed)
    ]
    assert generate(model, prompts, max_new_tokens, {stop_id}, sampling, batch_size) == alone


@given(PROMPTS, NEW_TOKENS, SAMPLING, st.integers(0, VOCAB_SIZE - 1))
@settings(max_examples=20)
def test_a_limit_or_an_end_cuts_a_continuation_and_changes_nothing_before(
    model: GPT, prompts: list[list[int]], max_new_tokens: int, sampling: Sampling, stop_id: int
) -> None:
    longest = generate(model, prompts, CONTEXT, (), sampling, len(prompts))
    cut = [continuation.ids[:max_new_tokens] for continuation in longest]
    expected = [
        Continuation(ids[: ids.index(stop_id)], True) if stop_id in ids else Continuation(ids, False) for ids in cut
    ]
    assert generate(model, prompts, max_new_tokens, {stop_id}, sampling, len(prompts)) == expected


def test_a_batch_whose_keys_and_values_exceed_the_memory_is_refused(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 2 * 2 * 3 * 16 * 12 * 8  # keys and values, blocks, texts, width, tokens, bytes of float64
    sampling = Sampling()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=needed))
    assert len(generate(model, [[1, 2]] * 3, 10, (), sampling, batch_size=3)) == 3
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=needed - 1))
    with pytest.raises(InputError, match=r"of 3 texts of up to 12 tokens take .* generate\.batch_size or "):
        generate(model, [[1, 2]] * 3, 10, (), sampling, batch_size=3)
    assert len(generate(model, [[1, 2]] * 3, 10, (), sampling, batch_size=2)) == 3
