"""Answers to instructions: only what comes after the prompt, up to the end-of-text, stripped."""

from __future__ import annotations

import pytest
import tiktoken
import torch

from scratchlm.generation import Sampling, generate_uncached
from scratchlm.instructions import Entry, format_prompt
from scratchlm.model import GPT, GPTConfig, new_gpt
from scratchlm.responses import answer
from scratchlm.tokenizer import read_tokenizer, train_bpe, write_tokenizer

ENTRIES = [Entry(instruction=f"Say it {n} times.", input="now" * (n % 2), output="It.") for n in range(6)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe([format_prompt(entry, "phi3") for entry in ENTRIES], 300))
    return read_tokenizer(folder)


@pytest.fixture(scope="module")
def model(tokenizer: tiktoken.Encoding) -> GPT:
    torch.manual_seed(2)
    gpt = new_gpt(GPTConfig(tokenizer.n_vocab, 64, 24, 2, 2, 0.0, False, False), "book").eval()
    with torch.no_grad():
        gpt.lm_head.weight[tokenizer.eot_token] *= 2.5  # likely enough that some answers end and some do not
    return gpt


def test_answers_are_the_new_tokens_up_to_end_of_text(model: GPT, tokenizer: tiktoken.Encoding) -> None:
    answers = answer(model, tokenizer, ENTRIES, "phi3", 12, Sampling(), batch_size=4)
    assert {given["finish"] for given in answers} == {"stop", "length"}
    for entry, given in zip(ENTRIES, answers, strict=True):
        ids = generate_uncached(model, tokenizer.encode_ordinary(format_prompt(entry, "phi3")), 12)
        stops = tokenizer.eot_token in ids
        kept = ids[: ids.index(tokenizer.eot_token)] if stops else ids
        assert given == {
            "text": tokenizer.decode(kept).strip(),
            "finish": "stop" if stops else "length",
            "tokens": len(kept),
        }


def test_white_space_around_an_answer_is_taken_off(model: GPT, tokenizer: tiktoken.Encoding) -> None:
    gpt = new_gpt(model.config, "book").eval()
    gpt.load_state_dict(model.state_dict())
    space = tokenizer.encode_ordinary(" ")[0]
    with torch.no_grad():
        gpt.ln_f.weight.zero_()
        gpt.ln_f.bias.copy_(gpt.lm_head.weight[space] * 100)
    assert answer(gpt, tokenizer, ENTRIES[:1], "phi3", 3, Sampling(), 1)[0]["text"] == ""


def test_a_prompt_that_fills_the_context_gets_an_empty_answer(model: GPT, tokenizer: tiktoken.Encoding) -> None:
    long = Entry(instruction="again " * 80, input="", output="It.")
    answers = answer(model, tokenizer, [ENTRIES[0], long], "phi3", 4, Sampling(), batch_size=2)
    assert answers[1] == {"text": "", "finish": "length", "tokens": 0}
    assert answers[0] == answer(model, tokenizer, ENTRIES[:1], "phi3", 4, Sampling(), batch_size=1)[0]
