"""What a base writes: the book's two prompts, continued where they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scratchlm.generation.base_texts import PROMPTS, describe_base
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_gpt
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

EFFORT, QUESTION = PROMPTS


def random_model(tokenizer: Tokenizer, context_length: int) -> GPT:
    torch.manual_seed(1)
    return new_gpt(GPTConfig(tokenizer.n_vocab, context_length, 16, 2, 1), "gpt2", 0.4).eval()


def test_the_prompts_and_lengths_are_the_books() -> None:
    assert PROMPTS == {
        "Every effort moves you": 15,
        "Is the following text 'spam'? Answer with 'yes' or 'no': 'You are a winner you have been specially selected "
        "to receive $1000 cash or a $2000 award.'": 23,
    }


def test_a_base_continues_both_prompts_greedily(tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    model = random_model(tokenizer, 300)
    effort, question = (generate_text(model, tokenizer, prompt, n, Sampling()) for prompt, n in PROMPTS.items())
    assert describe_base("124M", model, tokenizer) == (
        f"## 124M\n\n### {EFFORT}\n\n{effort}\n\n### {QUESTION}\n\n{question}\n"
    )
    assert len(effort) > len(EFFORT) and len(question) > len(QUESTION)


def test_a_prompt_that_fills_the_context_is_not_continued_and_the_text_says_so(tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    n_effort, n_question = (len(tokenizer.encode_ordinary(prompt)) for prompt in PROMPTS)
    section = describe_base("pretrained", random_model(tokenizer, n_question), tokenizer)
    said = f"Not continued: the prompt has {n_question} tokens, and this model sees {n_question} at once."
    assert section.endswith(f"### {QUESTION}\n\n{said}\n")
    assert section.count("Not continued") == 1
    assert describe_base("pretrained", random_model(tokenizer, n_effort), tokenizer).count("Not continued") == 2
    assert "Not continued" not in describe_base("pretrained", random_model(tokenizer, n_question + 1), tokenizer)


@pytest.mark.parametrize("corpus", ["the cat sat", "Every effort moves you"])
def test_words_that_a_tokenizer_does_not_know_are_shown_as_the_model_sees_them(corpus: str) -> None:
    words = WordTokenizer(build_vocabulary([corpus], 100))
    section = describe_base("pretrained", random_model(words, 80), words)
    seen = EFFORT if "effort" in corpus else "<|unk|> <|unk|> <|unk|> <|unk|>"
    assert section.startswith(f"## pretrained\n\n### {EFFORT}\n\n{seen}")
