"""Chats: the answers that the library gives, through the official client and a real socket."""

from __future__ import annotations

from typing import Any

import openai
import pytest
import torch
from openai import OpenAI

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.generation.decode import Continuation, Sampling, generate
from scratchlm.serving.shelf import Shelf

INSTRUCTION = "Name the colour of the hill."
GREEDY = Sampling()


def ask(client: OpenAI, text: str = INSTRUCTION, **options: Any) -> Any:
    options = {"model": "assistant", "messages": [{"role": "user", "content": text}], "max_tokens": 24} | options
    return client.chat.completions.create(**options)


def by_library(shelf: Shelf, text: str, max_tokens: int = 24, sampling: Sampling = GREEDY) -> tuple[str, Continuation]:
    served = shelf.get("assistant")
    ids = served.tokenizer.encode_ordinary(format_prompt(Entry(instruction=text, input="", output=""), served.style))
    new = generate(served.model, [ids], max_tokens, served.tokenizer.stop_ids, sampling, 1)[0]
    return served.tokenizer.decode(new.ids).strip(), new


def streamed(events: Any) -> str:
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


@pytest.mark.parametrize("text", [INSTRUCTION, "the dog", "é ∈ 中文", "a\0b"])
def test_an_answer_is_what_the_library_generates(client: OpenAI, shelf: Shelf, text: str) -> None:
    wanted, new = by_library(shelf, text)
    reply = ask(client, text)
    assert reply.choices[0].message.content == wanted
    assert reply.choices[0].finish_reason == ("stop" if new.stopped else "length")
    assert reply.usage.completion_tokens == len(new.ids)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + len(new.ids)
    assert streamed(ask(client, text, stream=True)) == wanted


def test_sampling_and_its_seed_are_those_of_the_library(client: OpenAI, shelf: Shelf) -> None:
    wanted, _ = by_library(shelf, INSTRUCTION, sampling=Sampling(1.2, 20, seed=4))
    options = {"temperature": 1.2, "seed": 4, "extra_body": {"top_k": 20}}
    assert ask(client, **options).choices[0].message.content == wanted
    assert ask(client, **options | {"seed": 5}).choices[0].message.content != wanted


def test_without_a_seed_every_answer_is_drawn_anew(client: OpenAI) -> None:
    assert len({ask(client, temperature=1.0).choices[0].message.content for _ in range(4)}) > 1


def test_only_the_last_user_message_is_read(client: OpenAI) -> None:
    history = [
        {"role": "system", "content": "You are a cat."},
        {"role": "user", "content": "the sea"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "1", "content": "the house"},
        {"role": "function", "name": "f", "content": "the house"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Name the colour", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": " of the hill."},
            ],
        },
    ]
    first, second = ask(client), ask(client, messages=history)
    assert second.choices[0].message.content == first.choices[0].message.content
    assert second.usage == first.usage


def test_a_stop_text_ends_the_answer_and_is_not_in_it(client: OpenAI, shelf: Shelf) -> None:
    whole, _ = by_library(shelf, INSTRUCTION)
    stop = whole[9:13]  # inside, and rarely at the borders of tokens
    wanted = whole[: whole.index(stop)].rstrip()
    for stops in (stop, ["never", stop]):
        reply = ask(client, stop=stops)
        assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (wanted, "stop")
        assert streamed(ask(client, stop=stops, stream=True)) == wanted
    assert reply.usage.completion_tokens < 24


def test_a_stream_says_role_reason_and_counts(client: OpenAI) -> None:
    events = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert events[0].choices[0].delta.role == "assistant"
    assert [event.choices[0].finish_reason for event in events[:-1]] == [*[None] * (len(events) - 2), "length"]
    assert events[-1].choices == [] and events[-1].usage == ask(client).usage
    assert all(event.usage is None for event in events[:-1])
    assert len({event.id for event in events}) == 1
    # Not at once. Tokens that come while the client does not listen share an event: on a busy machine these are few.
    assert len([event for event in events[:-1] if event.choices[0].delta.content]) > 1


def test_logprobs_are_those_of_the_model(client: OpenAI, shelf: Shelf) -> None:
    reply = ask(client, logprobs=True, top_logprobs=3, max_tokens=5, extra_body={"return_token_ids": True})
    served = shelf.get("assistant")
    ids, new = reply.prompt_token_ids, reply.choices[0].token_ids
    with torch.no_grad():
        logits_TV = served.model(torch.tensor([ids + new]))[0, len(ids) - 1 : -1]
    for said, token, log_probs_V in zip(
        reply.choices[0].logprobs.content, new, logits_TV.log_softmax(dim=-1), strict=True
    ):
        assert said.logprob == pytest.approx(float(log_probs_V[token]), abs=1e-4)
        assert bytes(said.bytes) == served.tokenizer.decode_single_token_bytes(token)
        assert [one.logprob for one in said.top_logprobs] == pytest.approx(
            log_probs_V.topk(3).values.tolist(), abs=1e-4
        )
    events = ask(client, logprobs=True, top_logprobs=3, max_tokens=5, stream=True)
    content = [one for event in events if event.choices[0].logprobs for one in event.choices[0].logprobs.content]
    assert content == reply.choices[0].logprobs.content


def test_the_answer_goes_on_until_the_context_is_full(client: OpenAI, shelf: Shelf) -> None:
    reply = ask(client, max_tokens=None)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.total_tokens == shelf.get("assistant").model.config.context_length
    for first, second in ((None, 2), (2, 9), (9, 2)):
        assert ask(client, max_tokens=first, max_completion_tokens=second).usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("change", "kind", "said", "code"),
    [
        ({"model": "gpt-5"}, openai.NotFoundError, "no model 'gpt-5', wanted pretrained or base", "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "messages: got []", None),
        ({"messages": [{"role": "assistant", "content": "a"}]}, openai.BadRequestError, "of role assistant", None),
        ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, "is empty", None),
        (
            {"messages": [{"role": "user", "content": "x" * 999}]},
            openai.BadRequestError,
            "this model's context has 320",
            "context_length_exceeded",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            openai.BadRequestError,
            "messages.0.content",
            None,
        ),
        ({"n": 2}, openai.BadRequestError, "n: got 2, and this server can only do 1", None),
        ({"top_p": 0.5}, openai.BadRequestError, "top_p: got 0.5", None),
        ({"temperature": 0.001}, openai.BadRequestError, "temperature: got 0.001, wanted 0 (greedy) or at least", None),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens: got 0", None),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format", None),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools", None),
        ({"stop": ["a"] * 17}, openai.BadRequestError, "stop", None),
        (
            {"extra_body": {"min_tokens": 3}},
            openai.BadRequestError,
            "min_tokens: got 3, and this server can only",
            None,
        ),
        ({"extra_body": {"zork": 3}}, openai.BadRequestError, "zork: unknown key", None),
        (
            {"messages": [{"role": "user"}, {"role": "tool", "content": "a"}]},
            openai.BadRequestError,
            "of role tool",
            None,
        ),
        (
            {"messages": [{"role": "user"}, {"role": "user", "content": 1}]},
            openai.BadRequestError,
            "messages.1.content",
            None,
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(
    client: OpenAI, change: dict[str, Any], kind: type[openai.APIStatusError], said: str, code: str | None
) -> None:
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            ask(client, stream=stream, **change)
        assert said in caught.value.message
        assert caught.value.code == code


def test_what_changes_nothing_is_accepted(client: OpenAI) -> None:
    neutral: dict[str, Any] = {"n": 1, "top_p": 1.0, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}}
    neutral |= {"user": "me", "response_format": {"type": "text"}, "metadata": {"a": "b"}, "store": False}
    neutral |= {"reasoning_effort": "low", "verbosity": "low"}
    more = {"tools": None, "seed": None, "repeat_penalty": 1.0, "top_k": -1, "stop": None, "chat_template_kwargs": {}}
    more |= {"skip_special_tokens": True, "ignore_eos": False, "min_tokens": 0, "echo": False}
    neutral["extra_body"] = more
    assert ask(client, **neutral).choices[0].message == ask(client).choices[0].message


def test_the_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pretrained", "base", "assistant", "preferred"]
    assert client.models.retrieve("base").id == "base"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")
