"""The prompted baseline: the book's question, and the answer that the whole model finds likelier."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from scratchlm.classifier.baseline import describe_accuracies
from scratchlm.classifier.prompted import encode_questions, likeliest_answers, measure_prompted, question
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

LABELS = ["ham", "spam"]
TEXTS = [
    "see you {at} the sea",
    "win",
    "call the house 0800 now!!",
    "'",
    "the cat ran over the hill " * 3,
    "dog?",
]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return read_tokenizer(tokenizer_folder)


def random_model(tokenizer: Tokenizer, context_length: int = 256, seed: int = 3) -> GPT:
    torch.manual_seed(seed)
    config = GPTConfig(tokenizer.n_vocab, context_length, 32, 4, 2, 0.5, qkv_bias=True, tie_embeddings=False)
    return new_model(config, "gpt2", init_std=1.0)  # very sure of its tokens; in training mode, with dropout


def messages(labels: list[int], texts: list[str] = TEXTS) -> pd.DataFrame:
    return pd.DataFrame({"Label": labels, "Text": texts})


@torch.no_grad()
def log_likelihood(model: GPT, prompt: list[int], answer: list[int]) -> float:
    """Compute it one message and one token at a time."""
    model.eval()
    logits = [model(torch.tensor([prompt + answer[:end]]))[0, -1] for end in range(len(answer))]
    return sum(row.log_softmax(dim=0)[token].item() for row, token in zip(logits, answer, strict=True))


def test_the_question_is_the_books() -> None:
    assert question("You are a winner you have been specially selected to receive $1000 cash or a $2000 award.") == (
        "Is the following text 'spam'? Answer with 'yes' or 'no':"
        " 'You are a winner you have been specially"
        " selected to receive $1000 cash or a $2000 award.'"
    )


@pytest.mark.parametrize("labels", [LABELS, LABELS[::-1]])
def test_the_base_says_spam_where_yes_is_likelier(tokenizer: Tokenizer, labels: list[str]) -> None:
    yes, no = (tokenizer.encode_ordinary(answer) for answer in (" yes", " no"))
    assert len(yes) > 1 and len(no) > 1 and len(yes) != len(no)  # as with the sample's tokenizer
    said: set[str] = set()
    for seed in range(8):
        model = random_model(tokenizer, seed=seed)
        prompts = [tokenizer.encode_ordinary(question(text)) for text in TEXTS]
        spam = [log_likelihood(model, prompt, yes) > log_likelihood(model, prompt, no) for prompt in prompts]
        right = [labels.index("spam" if is_spam else "ham") for is_spam in spam]
        assert measure_prompted(model, tokenizer, messages(right), labels, 4) == 100
        assert measure_prompted(model, tokenizer, messages([1 - label for label in right]), labels, 4) == 0
        assert measure_prompted(model, tokenizer, messages([1 - right[0], *right[1:]]), labels, 4) == pytest.approx(
            100 * 5 / 6
        )
        said |= {labels[label] for label in right}
    assert said == {"ham", "spam"}


@pytest.mark.parametrize("answers", [[[65], [66]], [[65, 70], [66, 71]]])
def test_answers_of_one_token_and_of_two_are_compared_alike(tokenizer: Tokenizer, answers: list[list[int]]) -> None:
    said: set[int] = set()
    prompts = [tokenizer.encode_ordinary(question(text)) for text in TEXTS]
    for seed in range(4):
        model = random_model(tokenizer, seed=seed).eval()
        expected = [
            max((0, 1), key=lambda number, prompt=prompt: log_likelihood(model, prompt, answers[number]))  # type: ignore[misc]
            for prompt in prompts
        ]
        assert likeliest_answers(model, prompts, answers).tolist() == expected
        said |= set(expected)
    assert said == {0, 1}


def test_a_long_message_loses_its_end_and_the_question_stays_whole(tokenizer: Tokenizer) -> None:
    whole = tokenizer.encode_ordinary(question(TEXTS[0]))
    long = "the sea " * 500
    prompts = encode_questions([TEXTS[0], long], tokenizer, len(whole))
    assert prompts is not None and prompts[0] == whole
    assert len(prompts[1]) == len(whole)
    asked = tokenizer.decode(prompts[1])
    assert asked.startswith("Is the following text 'spam'? Answer with 'yes' or 'no': 'the sea the sea")
    assert asked.endswith("'") and long.startswith(asked.split(": '")[1].removesuffix("'"))


def test_the_longest_prompt_and_answer_fill_the_context(tokenizer: Tokenizer) -> None:
    around = len(tokenizer.encode_ordinary(question("")))
    longest = max(len(tokenizer.encode_ordinary(answer)) for answer in (" yes", " no"))
    texts = ["the sea " * 500, "win"]
    for room, asked in ((0, False), (1, True), (9, True)):
        model = random_model(tokenizer, around + 1 + longest - 2 + room)
        accuracy = measure_prompted(model, tokenizer, messages([0, 1], texts), LABELS, 2)
        assert (accuracy is not None) == asked, room


def test_a_base_that_cannot_be_asked_has_no_accuracy(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    assert measure_prompted(model, tokenizer, messages([0, 1] * 3), LABELS, 4) is not None
    assert measure_prompted(model, tokenizer, messages([0, 1] * 3), ["no", "yes"], 4) is None
    assert measure_prompted(model, tokenizer, messages([0, 1] * 3), ["ham", "news", "spam"], 4) is None
    for text, known in (("yes or no", True), ("yes", False), ("no", False)):
        words = WordTokenizer(build_vocabulary([text], 100))
        accuracy = measure_prompted(random_model(words), words, messages([0, 1] * 3), LABELS, 4)
        assert (accuracy is not None) == known, text


def test_asking_draws_nothing_and_leaves_the_mode_as_it_was(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    before = torch.get_rng_state()
    measure_prompted(model, tokenizer, messages([0, 1] * 3), LABELS, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and model.h[0].training


def test_the_table_of_accuracies_is_aligned() -> None:
    accuracies = {"test_accuracy": 98.76, "baseline_test_accuracy": 100.0, "majority_test_accuracy": 9.0}
    assert describe_accuracies({**accuracies, "prompted_test_accuracy": None, "test_loss": 1.0}).splitlines() == [
        "test accuracy of the majority class    9.00 %",
        "test accuracy of the prompted base       none",
        "test accuracy of TF-IDF              100.00 %",
        "test accuracy of this classifier      98.76 %",
    ]
