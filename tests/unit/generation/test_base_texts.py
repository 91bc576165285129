"""What a base writes: the book's two prompts, continued where they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scratchlm.generation.base_texts import PROMPTS, describe_base, sample_base
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

EFFORT, QUESTION = PROMPTS


def random_model(tokenizer: Tokenizer, context_length: int) -> GPT:
    torch.manual_seed(1)
    return new_model(GPTConfig(tokenizer.n_vocab, context_length, 16, 2, 1), "gpt2", 0.4).eval()


def test_the_prompts_and_lengths_are_the_books() -> None:
    assert PROMPTS == {
        "Every effort moves you": 15,
        "Is the following text 'spam'? Answer with 'yes' or 'no': 'You are a winner you have been specially selected "
        "to receive $1000 cash or a $2000 award.'": 23,
    }


def test_a_base_continues_both_prompts_greedily(tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    model = random_model(tokenizer, 300)
    effort, question = sample_base(model, tokenizer)
    assert [effort, question] == [
        generate_text(model, tokenizer, prompt, n, Sampling()) for prompt, n in PROMPTS.items()
    ]
    assert effort and question and len(effort) > len(EFFORT) and len(question) > len(QUESTION)


def test_a_prompt_that_fills_the_context_is_not_continued(tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    n_effort, n_question = (len(tokenizer.encode_ordinary(prompt)) for prompt in PROMPTS)
    for context_length, continued in ((n_effort, 0), (n_question, 1), (n_question + 1, 2)):
        texts = sample_base(random_model(tokenizer, context_length), tokenizer)
        assert [text is not None for text in texts] == [index < continued for index in range(2)]


@pytest.mark.parametrize("corpus", ["the cat sat", "Every effort moves you"])
def test_words_that_a_tokenizer_does_not_know_are_shown_as_the_model_sees_them(corpus: str) -> None:
    words = WordTokenizer(build_vocabulary([corpus], 100))
    effort, _ = sample_base(random_model(words, 80), words)
    assert effort and effort.startswith(EFFORT if "effort" in corpus else "<|unk|> <|unk|> <|unk|> <|unk|>")


def test_no_text_can_break_the_page() -> None:
    assert describe_base("124M", ["# Every\n\n```\n<b>\x1b[31m", None]).splitlines() == [
        "## 124M",
        "",
        "```text",
        "prompt       Every effort moves you",
        "text         # Every",
        "",
        "             ```",
        "             <b>\\x1b[31m",
        "",
        "prompt       Is the following text 'spam'? Answer with 'yes' or 'no': 'You are a winner you have",
        "             been specially selected to receive $1000 cash or a $2000 award.'",
        "text         (not continued: the prompt fills the model's context)",
        "```",
    ]
