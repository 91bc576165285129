"""Completions: the library's texts, and how likely a text is as lm-evaluation-harness asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any

import openai
import pytest
import torch
from openai import OpenAI

from scratchlm.generation.decode import Continuation, Sampling, generate
from scratchlm.model.language_model import LanguageModel
from scratchlm.serving import completions
from scratchlm.serving.completions import MOST_PROMPTS, SCORED_AT_ONCE
from scratchlm.serving.shelf import Served, Shelf

PROMPTS = ["the cat", "the dog ran over the green", "by"]
GREEDY = Sampling()


@pytest.fixture(scope="module")
def served(shelf: Shelf) -> Served:
    return shelf.get("pretrained")


@contextmanager
def always(served: Served, token: int) -> Iterator[None]:
    """Make one token the likeliest after any other."""
    hook = served.model.lm_head.register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.tensor(token), 9e3)
    )
    yield
    hook.remove()


def ask(client: OpenAI, prompt: Any = "the cat", **options: Any) -> Any:
    return client.completions.create(**({"model": "pretrained", "prompt": prompt, "max_tokens": 12} | options))


def by_library(served: Served, ids: list[int], max_tokens: int = 12, sampling: Sampling = GREEDY) -> Continuation:
    return generate(served.model, [ids], max_tokens, served.tokenizer.stop_ids, sampling, 1)[0]


def test_a_text_goes_on_as_the_library_continues_it(client: OpenAI, served: Served) -> None:
    ids = served.tokenizer.encode_ordinary("the cat")
    wanted = served.tokenizer.decode(by_library(served, ids).ids)
    assert ask(client).choices[0].text == wanted
    assert ask(client, ids).choices[0].text == wanted
    assert ask(client, echo=True).choices[0].text == "the cat" + wanted
    assert "".join(event.choices[0].text for event in ask(client, stream=True, echo=True)) == "the cat" + wanted
    assert len(ask(client, max_tokens=openai.omit).choices[0].text) > 0  # 16 tokens, as OpenAI


def test_every_prompt_has_its_choice(client: OpenAI, served: Served) -> None:
    ids = served.tokenizer.encode_ordinary_batch(PROMPTS)
    new = [by_library(served, one, sampling=Sampling(0.9, None, 7 + number)) for number, one in enumerate(ids)]
    wanted = [served.tokenizer.decode(one.ids) for one in new]
    for prompts in (PROMPTS, ids):
        reply = ask(client, prompts, temperature=0.9, seed=7)
        assert [choice.text for choice in reply.choices] == wanted
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        assert reply.usage.prompt_tokens == sum(map(len, ids))
        assert reply.usage.completion_tokens == sum(len(one.ids) for one in new)
    texts = ["", "", ""]
    for event in ask(client, PROMPTS, temperature=0.9, seed=7, stream=True):
        texts[event.choices[0].index] += event.choices[0].text
    assert texts == wanted


def test_ids_come_on_demand(client: OpenAI, served: Served) -> None:
    ids = served.tokenizer.encode_ordinary("the cat")
    new = by_library(served, ids).ids
    for echo in (False, True):
        choice = ask(client, echo=echo, extra_body={"return_token_ids": True}).choices[0]
        assert (choice.prompt_token_ids, choice.token_ids) == (ids, new)
    events = [event.choices[0] for event in ask(client, stream=True, extra_body={"return_token_ids": True})]
    assert events[0].prompt_token_ids == ids
    assert [*chain.from_iterable(event.token_ids for event in events)] == new


def test_an_echo_says_how_likely_each_token_is(client: OpenAI, served: Served) -> None:
    reply = ask(client, PROMPTS, echo=True, logprobs=2, max_tokens=0)
    for text, choice in zip(PROMPTS, reply.choices, strict=True):
        ids = served.tokenizer.encode_ordinary(text)
        with torch.no_grad():
            log_probs_TV = served.model(torch.tensor([ids]))[0].log_softmax(dim=-1)
        said = choice.logprobs
        assert (choice.text, choice.finish_reason) == (text, "length")
        assert [text[start:] for start in said.text_offset] == ["".join(said.tokens[n:]) for n in range(len(ids))]
        assert said.token_logprobs[0] is None and said.top_logprobs[0] is None
        wanted = [float(log_probs_V[token]) for log_probs_V, token in zip(log_probs_TV, ids[1:], strict=False)]
        assert said.token_logprobs[1:] == pytest.approx(wanted, abs=1e-4)
        for top, token, log_probs_V in zip(said.top_logprobs[1:], said.tokens[1:], log_probs_TV, strict=False):
            assert sorted(top.values())[-2:] == pytest.approx(sorted(log_probs_V.topk(2).values.tolist()), abs=1e-4)
            assert token in top and len(top) in (2, 3)
    assert reply.usage.completion_tokens == 0


def test_an_echo_also_has_the_new_tokens(client: OpenAI, served: Served) -> None:
    whole = ask(client, echo=True, logprobs=1, max_tokens=3).choices[0]
    n_prompt = len(served.tokenizer.encode_ordinary("the cat"))
    assert len(whole.logprobs.tokens) == n_prompt + 3
    assert all(start <= end for start, end in pairwise(whole.logprobs.text_offset))
    new = ask(client, logprobs=1, max_tokens=3).choices[0]
    assert new.logprobs.tokens == whole.logprobs.tokens[n_prompt:]
    assert new.logprobs.token_logprobs == pytest.approx(whole.logprobs.token_logprobs[n_prompt:], abs=1e-4)
    assert new.logprobs.text_offset[0] == 0
    events = [event.choices[0].logprobs for event in ask(client, echo=True, logprobs=1, max_tokens=3, stream=True)]
    for key in ("tokens", "token_logprobs", "text_offset"):
        found = [*chain.from_iterable(getattr(part, key) for part in events if part)]
        assert found == getattr(whole.logprobs, key)


def test_the_end_of_the_text_is_among_the_logprobs_and_not_in_the_text(client: OpenAI, served: Served) -> None:
    """The harness asks for one new token and drops the last one of the echo: that must not be one of the text."""
    n_prompt = len(served.tokenizer.encode_ordinary("the cat"))
    with always(served, served.tokenizer.eot_token):
        choice = ask(client, echo=True, logprobs=1, max_tokens=1).choices[0]
        reply = ask(client)
    assert choice.text == "the cat" and choice.finish_reason == "stop"
    assert choice.logprobs.tokens[n_prompt:] == ["<|endoftext|>"]
    assert choice.logprobs.token_logprobs[-1] == pytest.approx(0, abs=1e-3)
    assert (reply.choices[0].text, reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("", "stop", 0)


def test_a_character_that_the_prompt_begins_is_completed(client: OpenAI, served: Served) -> None:
    first, second = served.tokenizer.encode_ordinary("é")
    with always(served, second):
        choice, echoing = (
            ask(client, [first], max_tokens=1, logprobs=1, echo=echo).choices[0] for echo in (False, True)
        )
        streamed = "".join(
            event.choices[0].text for event in ask(client, [first], max_tokens=1, echo=True, stream=True)
        )
    assert choice.text == echoing.text == streamed == "é"
    assert choice.logprobs.tokens == [r"bytes:\xa9"]
    assert ask(client, [first], max_tokens=0, echo=True).choices[0].text == "\N{REPLACEMENT CHARACTER}"


def test_many_long_prompts_are_scored_in_parts(client: OpenAI, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    score_tokens = completions.score_tokens
    sizes = []

    def noted(model: LanguageModel, texts: Sequence[Sequence[int]], n_likeliest: int) -> Any:
        sizes.append(len(texts) * max(map(len, texts)))
        return score_tokens(model, texts, n_likeliest)

    monkeypatch.setattr(completions, "score_tokens", noted)
    ids = [[number % 256] * (200 + number) for number in range(40)]
    together = ask(client, ids, echo=True, logprobs=0, max_tokens=0).choices
    alone = ask(client, ids[39], echo=True, logprobs=0, max_tokens=0).choices[0]
    assert [len(choice.logprobs.tokens) for choice in together] == [*map(len, ids)]
    assert max(sizes) <= SCORED_AT_ONCE and len(sizes) < 10
    assert together[39].logprobs.token_logprobs[1:] == pytest.approx(alone.logprobs.token_logprobs[1:], abs=1e-3)


def test_a_prompt_may_fill_the_context_if_nothing_comes_after_it(client: OpenAI, served: Served) -> None:
    context = served.model.config.context_length
    assert len(ask(client, [5] * context, echo=True, logprobs=0, max_tokens=0).choices[0].logprobs.tokens) == context
    reply = ask(client, [5] * (context - 1), max_tokens=99)
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 1)
    for length, max_tokens in ((context, 1), (context + 1, 0)):
        with pytest.raises(openai.BadRequestError, match="give a shorter text") as caught:
            ask(client, [5] * length, echo=True, max_tokens=max_tokens)
        assert caught.value.code == "context_length_exceeded"


def test_special_tokens_count_as_such(client: OpenAI, served: Served) -> None:
    choice = ask(client, "the<|endoftext|>", extra_body={"return_token_ids": True}).choices[0]
    assert choice.prompt_token_ids[-1] == served.tokenizer.eot_token


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "no tokens"),
        ([], "wanted a text"),
        ([[]], "wanted token ids"),
        ([True], "wanted either"),
        ([1.0], "wanted either"),
        (["a", [1]], "wanted either"),
        ([300], "wanted token ids from 0 to"),
        ([-1], "wanted token ids from 0 to"),
        ([10**40], "wanted token ids from 0 to"),
        ({}, "wanted a text"),
        (["a"] * (MOST_PROMPTS + 1), "1 to 64"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_prompt_is_refused(client: OpenAI, prompt: Any, said: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, prompt)
    assert said in caught.value.message and caught.value.param == "prompt"
