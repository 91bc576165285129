"""A classifier's folder: what is saved comes back, and anything else is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchlm.classifier.classifier import Classifier, encode_messages, label_logits
from scratchlm.classifier.folder import DESCRIPTION, Description, load_classifier, save_classifier
from scratchlm.classifier.reading import Reading
from scratchlm.errors import OutputError
from scratchlm.files.tensors import save_tensors
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.tokenizer.folder import read_tokenizer

TOPICS = Description(["big cats", "dogs", "löwen"], max_length=9, temperature=1.75)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(
        new_model(GPTConfig(280, 12, 16, 2, 3, 0.0, qkv_bias=False, tie_embeddings=True), "book"), 3
    ).eval()


@pytest.fixture
def folder(classifier: Classifier, tokenizer_folder: Path, tmp_path: Path) -> Path:
    save_classifier(tmp_path / "classifier", classifier, tokenizer_folder, TOPICS)
    return tmp_path / "classifier"


def test_a_saved_classifier_has_the_same_logits_and_description(classifier: Classifier, folder: Path) -> None:
    loaded, tokenizer, description = load_classifier(folder)
    ids = encode_messages(["the cat", "on the mat"], tokenizer, description.max_length)
    assert description == TOPICS
    assert torch.equal(label_logits(loaded, ids, 2), label_logits(classifier, ids, 2))


@pytest.mark.parametrize(
    "reading", [Reading("first"), Reading("mean_real", "context"), Reading("last", "none", causal_mask=False)]
)
def test_a_loaded_classifier_reads_a_text_as_it_was_trained_to(
    classifier: Classifier, tokenizer_folder: Path, tmp_path: Path, reading: Reading
) -> None:
    pad_id = read_tokenizer(tokenizer_folder).eot_token
    classifier.reading = replace(reading, pad_id=pad_id)
    save_classifier(tmp_path / "saved", classifier, tokenizer_folder, TOPICS)
    loaded, tokenizer, description = load_classifier(tmp_path / "saved")
    assert loaded.reading == classifier.reading
    texts = ["the cat", "on the mat and the hill", ""]
    together = label_logits(classifier, encode_messages(texts, tokenizer, description.max_length), 3)
    for text, logits in zip(texts, together, strict=True):
        alone = label_logits(loaded, encode_messages([text], tokenizer, description.max_length), 1)
        torch.testing.assert_close(alone[0], logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classifier.json", b"{", "is not valid JSON"),
        ("classifier.json", b"[]", "holds a list, wanted the description of a classifier"),
        ("classifier_head.safetensors", None, r"classifier_head\.safetensors is missing"),
        ("classifier_head.safetensors", b"cut", "is not a readable safetensors file"),
    ],
)
def test_a_damaged_classifier_says_what_is_wrong(folder: Path, name: str, content: bytes | None, message: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(OutputError, match=message):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_length", None, "max_length is None, wanted a number from 1 to 12"),
        ("max_length", 13, "max_length is 13, wanted a number from 1 to 12"),
        ("temperature", None, r"temperature is None, wanted a number from 0\.01 to 100, such as 1\.0"),
        ("temperature", 0.0, r"temperature is 0\.0, wanted"),
        ("temperature", float("inf"), "temperature is inf, wanted"),
        ("labels", None, "got None, wanted a list of 2 to 100 labels"),
        ("labels", ["ham"], r"got \['ham'\], wanted a list of 2 to 100 labels"),
        ("labels", ["ham", "spam\t"], r"got label 'spam\\t', wanted a name of 1 to 50 printable characters"),
        ("labels", ["ham", 1], "got label 1, wanted a name"),
        ("labels", ["ham", "ham", "spam"], "got a label twice"),
        ("token", None, "token is None, wanted 'last' or 'first' or 'last_real' or 'mean' or 'mean_real'"),
        ("token", ["last"], r"token is \['last'\], wanted 'last' or"),
        ("padding", "longer", "padding is 'longer', wanted 'longest' or 'context' or 'none'"),
        ("causal_mask", "yes", "causal_mask is 'yes', wanted True or False"),
        ("labels", ["ham", "spam"], r"holds \{'bias': \(3,\), 'weight': \(3, 16\)\}, expected"),
    ],
)
def test_a_description_that_cannot_be_used_says_what_is_wrong(folder: Path, key: str, value: Any, message: str) -> None:
    written = json.loads((folder / DESCRIPTION).read_text())
    assert key in written
    (folder / DESCRIPTION).write_text(json.dumps({**written, key: value}))
    with pytest.raises(OutputError, match=message):
        load_classifier(folder)


def test_a_head_of_another_shape_is_refused(folder: Path) -> None:
    save_tensors(folder / "classifier_head.safetensors", {"weight": torch.zeros(4, 16)})
    with pytest.raises(OutputError, match=r"holds \{'weight': \(4, 16\)\}, expected"):
        load_classifier(folder)


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no classifier \(classifier\.json is missing\)"):
        load_classifier(tmp_path)
