"""The classifier: chapter 6's padding, which layers train, and what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken
import torch
from training_settings import classifier_settings

from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    choose_trained_layers,
    encode_messages,
    label_logits,
    label_loss,
    measure_labels,
)
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.tokenizer.folder import read_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> tiktoken.Encoding:
    return read_tokenizer(tokenizer_folder)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(new_model(GPTConfig(280, 12, 16, 2, 3, 0.0, qkv_bias=False, tie_embeddings=True), "book")).eval()


def test_messages_are_padded_with_end_of_text_and_cut_to_the_length(tokenizer: tiktoken.Encoding) -> None:
    texts = ["cat", "the cat sat", "", "the cat sat on the mat and sat"]
    ids = encode_messages(texts, tokenizer, 4)
    assert ids.shape == (4, 4)
    for row, text in zip(ids.tolist(), texts, strict=True):
        wanted = tokenizer.encode_ordinary(text)[:4]
        assert row == wanted + [tokenizer.eot_token] * (4 - len(wanted))


def test_the_label_is_read_at_the_last_position(classifier: Classifier) -> None:
    ids = torch.randint(280, (2, 12))
    with torch.no_grad():
        features = classifier.gpt.features(ids)
        assert torch.equal(classifier(ids), classifier.head(features[:, -1]))


@pytest.mark.parametrize(
    ("train_layers", "prefixes"),
    [
        ("last_layer", ("head.",)),
        ("last_block", ("head.", "gpt.ln_f.", "gpt.h.2.")),
        ("last_two_blocks", ("head.", "gpt.ln_f.", "gpt.h.1.", "gpt.h.2.")),
        ("all", ("",)),
    ],
)
def test_exactly_the_chosen_layers_train(classifier: Classifier, train_layers: str, prefixes: tuple[str, ...]) -> None:
    choose_trained_layers(classifier, classifier_settings(train_layers=train_layers))
    for name, parameter in classifier.named_parameters():
        assert parameter.requires_grad == name.startswith(prefixes), name


def test_the_loss_is_the_sum_of_the_messages_losses(classifier: Classifier) -> None:
    ids, labels = torch.randint(280, (5, 12)), torch.tensor([0, 1, 1, 0, 1])
    total = label_loss(classifier, (ids, labels))
    parts = [label_loss(classifier, (ids[i : i + 1], labels[i : i + 1])) for i in range(5)]
    assert torch.allclose(total, torch.stack(parts).sum(), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_measures_do_not_depend_on_the_batch_size(classifier: Classifier, batch_size: int) -> None:
    torch.manual_seed(1)
    messages = Messages(torch.randint(280, (8, 12)), [0, 1, 0, 1, 1, 1, 0, 0])
    logits = label_logits(classifier, messages.ids, 8)
    measures = measure_labels(classifier, messages, batch_size)
    right = sum(p == y for p, y in zip(measures.predictions, messages.labels.tolist(), strict=True))
    assert measures.predictions == logits.argmax(dim=-1).tolist()
    assert measures.accuracy == 100 * right / 8
    expected = torch.nn.functional.cross_entropy(logits, messages.labels)
    assert measures.loss == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("n_labels", [2, 5])
def test_there_are_as_many_outputs_as_labels(n_labels: int) -> None:
    classifier = Classifier(
        new_model(GPTConfig(280, 12, 16, 2, 1, 0.0, qkv_bias=False, tie_embeddings=True), "book"), n_labels
    )
    assert classifier(torch.randint(280, (3, 12))).shape == (3, n_labels)


def test_the_head_of_two_labels_draws_as_the_books(classifier: Classifier) -> None:
    torch.manual_seed(123)
    head = torch.nn.Linear(16, 2)
    torch.manual_seed(123)
    assert torch.equal(Classifier(classifier.gpt).head.weight, head.weight)
