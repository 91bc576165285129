"""How likely a model finds each choice of a question: the log-likelihood of the choice's tokens after the prompt.

Tokens are split and long texts cut as lm-evaluation-harness does, so that the figures are the same
(`benchmarks/lm_eval_parity.py` compares them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.benchmark.questions import Question
from scratchlm.checkpoint.folder import load
from scratchlm.errors import InputError
from scratchlm.files.text import shorten
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.likelihood import log_likelihoods
from scratchlm.params.choices import PromptStyle
from scratchlm.stage.batches import Work, compute_batches
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.protocol import Tokenizer

TOKENS_AT_ONCE = 4096  # of a batch, padding included; less leaves a GPU idle, more is not faster
SHOWN_CHARACTERS = 60  # of a choice in a message


class Pair(NamedTuple):
    """A prompt with one choice behind it, as tokens; the last `n_choice` of them are the choice's."""

    ids: list[int]
    n_choice: int


class Scored(NamedTuple):
    """What one model says of one choice."""

    log_likelihood: float  # in nats
    was_cut: bool  # the prompt lost its beginning, because both together are longer than the model's context


def score_choices(
    folders: Mapping[str, Path],
    questions: Sequence[Question],
    *,
    style: PromptStyle,
    device: torch.device,
    snapshots: Snapshots,
) -> dict[str, list[list[Scored]]]:
    """Let the model of each folder score every choice of every question; return that under the names of `folders`.

    A question is asked as an instruction is, and a choice stands where the answer would. Choices saved in `snapshots`
    are not scored again. Raises Interrupted between two batches if a stop was requested, and InputError for choices
    that are longer than the model's context.
    """
    prompts = [format_prompt(Entry(instruction=asked["question"], input="", output=""), style) for asked in questions]
    choices = [asked["choices"] for asked in questions]

    def begin(name: str) -> Work:
        model, tokenizer = load(folders[name])
        model.to(device)
        pairs = encode_pairs(tokenizer, prompts, choices)
        check_lengths(pairs, questions, model.config.context_length)
        return batches_by_tokens(pairs), lambda numbers: score_batch(model, [pairs[number] for number in numbers])

    scores = compute_batches(list(folders), sum(map(len, choices)), "choice", begin, snapshots)
    return {name: _by_question(given, choices) for name, given in scores.items()}


def _by_question(given: Iterable[Sequence[Any]], choices: Sequence[Sequence[str]]) -> list[list[Scored]]:
    scored = (Scored(*one) for one in given)
    return [list(islice(scored, len(of_question))) for of_question in choices]


def encode_pairs(tokenizer: Tokenizer, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[Pair]:
    """Encode each prompt with each of its choices behind it.

    White space at the end of a prompt counts to the choice, since it may be one token with the choice's beginning.
    Both are encoded together, and the choice's tokens are those after as many as the prompt has alone.
    """
    n_prompts = [len(ids) for ids in tokenizer.encode_ordinary_batch([prompt.rstrip() for prompt in prompts])]
    texts = [prompt + choice for prompt, given in zip(prompts, choices, strict=True) for choice in given]
    whole = iter(tokenizer.encode_ordinary_batch(texts))
    counts = zip(n_prompts, choices, strict=True)
    return [Pair(ids, len(ids) - n_prompt) for n_prompt, given in counts for ids in islice(whole, len(given))]


def check_lengths(pairs: Sequence[Pair], questions: Sequence[Question], context_length: int) -> None:
    """Raise InputError if a choice alone has more tokens than the model can see."""
    choices = (choice for asked in questions for choice in asked["choices"])
    for pair, choice in zip(pairs, choices, strict=True):
        if pair.n_choice > context_length:
            raise InputError(
                f"the choice {shorten(choice, SHOWN_CHARACTERS)!r} has {pair.n_choice} tokens, more than the model's "
                f"context of {context_length}: shorten it, or leave its question out"
            )


def batches_by_tokens(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Yield the pairs' numbers in batches of similar lengths, longest first, of at most `TOKENS_AT_ONCE`.

    A pair that is longer than that is a batch of its own.
    """
    by_length = sorted(range(len(pairs)), key=lambda number: -len(pairs[number].ids))
    start = 0
    while start < len(by_length):
        size = max(1, TOKENS_AT_ONCE // len(pairs[by_length[start]].ids))
        yield by_length[start : start + size]
        start += size


def score_batch(model: LanguageModel, pairs: Sequence[Pair]) -> list[Scored]:
    """Score the pairs as one batch.

    A pair that is longer than the model's context loses the beginning of its prompt.
    """
    context = model.config.context_length
    texts = [pair.ids[-context - 1 :] for pair in pairs]  # the last token is not read
    scores = log_likelihoods(model, texts, [pair.n_choice for pair in pairs])
    was_cut = [len(pair.ids) > context + 1 for pair in pairs]
    return [Scored(*scored) for scored in zip(scores.tolist(), was_cut, strict=True)]
