"""Answers to instructions: what a model says after the prompt, and why it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from scratchlm.generation import Sampling, generate
from scratchlm.instructions import Entry, PromptStyle, format_prompt
from scratchlm.model import GPT
from scratchlm.tokenizer import Tokenizer, end_of_text


class Answer(TypedDict):
    """The text of an answer, whether the model ended it, and its length in tokens."""

    text: str
    finish: Literal["stop", "length"]
    tokens: int


def answer(
    model: GPT,
    tokenizer: Tokenizer,
    entries: Sequence[Entry],
    style: PromptStyle,
    max_new_tokens: int,
    sampling: Sampling,
    batch_size: int,
    name: str | None = None,
) -> list[Answer]:
    """Answer every entry, in order; `name` shows a progress bar.

    Only the new tokens are kept, without white space around them; an entry whose prompt leaves no room in the
    model's context gets an empty answer.
    """
    prompts = tokenizer.encode_ordinary_batch([format_prompt(entry, style) for entry in entries])
    continuations = generate(model, prompts, max_new_tokens, end_of_text(tokenizer), sampling, batch_size, name)
    return [
        Answer(text=tokenizer.decode(given.ids).strip(), finish=given.finish, tokens=len(given.ids))
        for given in continuations
    ]
