"""The classifier: chapter 6's padding, which layers train, and saving and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken
import torch

from scratchlm.checkpoint.weights import save_tensors
from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    choose_trained_layers,
    encode_messages,
    label_logits,
    label_loss,
    load_classifier,
    measure_labels,
    save_classifier,
)
from scratchlm.errors import OutputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_gpt
from scratchlm.tokenizer.folder import read_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> tiktoken.Encoding:
    return read_tokenizer(tokenizer_folder)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(new_gpt(GPTConfig(280, 12, 16, 2, 3, 0.0, False, True), "book")).eval()


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
    choose_trained_layers(classifier, train_layers)  # type: ignore[arg-type]
    for name, parameter in classifier.named_parameters():
        assert parameter.requires_grad == name.startswith(prefixes), name


def test_the_loss_is_a_sum_with_its_count(classifier: Classifier) -> None:
    ids, labels = torch.randint(280, (5, 12)), torch.tensor([0, 1, 1, 0, 1])
    total, n = label_loss(classifier, (ids, labels))
    parts = [label_loss(classifier, (ids[i : i + 1], labels[i : i + 1]))[0] for i in range(5)]
    assert n == 5
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


def test_a_saved_classifier_has_the_same_logits(classifier: Classifier, tokenizer_folder: Path, tmp_path: Path) -> None:
    save_classifier(tmp_path / "classifier", classifier, tokenizer_folder, max_length=9)
    loaded, tokenizer, max_length = load_classifier(tmp_path / "classifier")
    ids = encode_messages(["the cat", "on the mat"], tokenizer, max_length)
    assert max_length == 9
    assert torch.equal(label_logits(loaded, ids, 2), label_logits(classifier, ids, 2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classifier.json", b"{", "is not valid JSON"),
        ("classifier.json", b"[]", "holds a list, wanted the description of a classifier"),
        ("classifier.json", b"{}", "max_length is None, wanted a number from 1 to 12"),
        ("classifier.json", b'{"max_length": 13}', "max_length is 13, wanted a number from 1 to 12"),
        ("classifier_head.safetensors", None, r"classifier_head\.safetensors is missing"),
        ("classifier_head.safetensors", b"cut", "is not a readable safetensors file"),
    ],
)
def test_a_damaged_classifier_says_what_is_wrong(
    classifier: Classifier, tokenizer_folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = tmp_path / "classifier"
    save_classifier(folder, classifier, tokenizer_folder, max_length=9)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(OutputError, match=message):
        load_classifier(folder)


def test_a_head_of_another_shape_is_refused(classifier: Classifier, tokenizer_folder: Path, tmp_path: Path) -> None:
    save_classifier(tmp_path / "classifier", classifier, tokenizer_folder, max_length=9)
    save_tensors(tmp_path / "classifier" / "classifier_head.safetensors", {"weight": torch.zeros(3, 16)})
    with pytest.raises(OutputError, match=r"holds \{'weight': \(3, 16\)\}, expected"):
        load_classifier(tmp_path / "classifier")


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no classifier \(classifier\.json is missing\)"):
        load_classifier(tmp_path)
