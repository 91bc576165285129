"""What the assistant answers while it is trained: its likeliest answers, and no change to the training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.generation.decode import generate_uncached
from scratchlm.generation.epoch_answers import SAMPLE_TOKENS, describe_answers, sample_answers
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer

ENTRIES = [
    Entry(instruction="the cat", input="", output="It sat."),
    Entry(instruction="the dog and the cat", input="the green hill", output="Over the hill.\nBy the sea."),
    Entry(instruction="a", input="", output="```"),
]


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return read_tokenizer(tokenizer_folder)


@pytest.fixture
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(1)
    return new_model(GPTConfig(tokenizer.n_vocab, 150, 24, 2, 2, 0.1, tie_embeddings=False), "book").eval()


def test_answers_are_the_likeliest_tokens_after_each_prompt(model: GPT, tokenizer: Tokenizer) -> None:
    expected = []
    for entry in ENTRIES:
        new = generate_uncached(model, tokenizer.encode_ordinary(format_prompt(entry, "phi3")), SAMPLE_TOKENS)
        end = new.index(tokenizer.eot_token) if tokenizer.eot_token in new else len(new)
        expected.append(tokenizer.decode(new[:end]).strip())
    assert sample_answers(model, tokenizer, ENTRIES, "phi3") == expected
    assert all(expected)


def test_looking_draws_nothing_from_the_trainings_generator(model: GPT, tokenizer: Tokenizer) -> None:
    before = torch.get_rng_state()
    sample_answers(model, tokenizer, ENTRIES, "phi3")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_prompt_that_fills_the_context_has_no_answer(model: GPT, tokenizer: Tokenizer) -> None:
    long = Entry(instruction="the " * 200, input="", output="No.")
    answers = sample_answers(model, tokenizer, [ENTRIES[0], long], "phi3")
    assert answers[0] and answers[1] == ""


def test_the_page_shows_reference_and_answers_by_epoch() -> None:
    page = describe_answers("assistant", ENTRIES, [["A.", "B.", ""], ["It sat.", "Over.\n\nBy.", "```"]])
    assert page.splitlines()[4:] == [
        "## Entry 0",
        "",
        "```text",
        "instruction  the cat",
        "reference    It sat.",
        "",
        "epoch 1      A.",
        "epoch 2      It sat.",
        "```",
        "",
        "## Entry 1",
        "",
        "```text",
        "instruction  the dog and the cat",
        "input        the green hill",
        "reference    Over the hill.",
        "             By the sea.",
        "",
        "epoch 1      B.",
        "epoch 2      Over.",
        "",
        "             By.",
        "```",
        "",
        "## Entry 2",
        "",
        "```text",
        "instruction  a",
        "reference    ```",
        "",
        "epoch 1      (nothing)",
        "epoch 2      ```",
        "```",
    ]
    assert page.endswith("```\n")


def test_before_the_first_epoch_the_page_has_the_entries_alone() -> None:
    page = describe_answers("assistant", ENTRIES[:1], [])
    assert "reference    It sat." in page and "epoch 1" not in page
