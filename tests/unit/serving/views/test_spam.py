"""The view Spam gives the numbers of `scratchlm classify`, and refuses what it cannot take apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from scratchlm.cli import cli
from scratchlm.serving.app import make_app
from scratchlm.serving.shelf import Shelf

TEXT = "win the <b>green</b> house 🏠 now"


def test_the_label_and_its_probability_are_those_of_the_command_line(page: TestClient, viewed: Shelf) -> None:
    answer = page.post("/page/spam", json={"text": TEXT}).json()
    printed = CliRunner().invoke(cli, ["classify", TEXT, "--model", str(viewed.root / "models/classifier")]).stdout
    label, probability, _ = printed.split("\t")
    assert answer["label"] == label
    assert answer["probabilities"][label] == pytest.approx(float(probability), abs=5e-4)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_each_token_has_its_text_its_part_and_the_probability_after_it(page: TestClient, viewed: Shelf) -> None:
    answer = page.post("/page/spam", json={"text": TEXT}).json()
    tokens, label = answer["tokens"], answer["label"]
    _, tokenizer, _ = viewed.classifier()
    assert len(tokens) == len(tokenizer.encode_ordinary(TEXT))
    assert "".join(token["text"] for token in tokens if not token["text"].startswith("\\x")) == TEXT
    assert sum(token["text"].startswith("\\x") for token in tokens) == 3, "a house has four bytes"
    assert tokens[-1]["probability"] == answer["probabilities"][label]
    first = page.post("/page/spam", json={"text": tokens[0]["text"]}).json()
    assert first["probabilities"][label] == pytest.approx(tokens[0]["probability"], abs=1e-6)
    assert any(abs(token["part"]) > 1e-3 for token in tokens)


def test_what_the_classifier_does_not_read_is_named(page: TestClient) -> None:
    answer = page.post("/page/spam", json={"text": "x" * 121 + "yz"}).json()
    assert (len(answer["tokens"]), answer["unread"]) == (120, "xyz")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": ""}, "the message has 0 tokens, wanted 1 to 128"),
        ({"text": "a" * 2_001}, "text: got"),
        ({"text": 1}, "text: got 1"),
        ({}, "text: missing"),
    ],
    ids=["empty", "long", "number", "nothing"],
)
def test_a_message_that_cannot_be_read_is_refused(page: TestClient, body: object, words: str) -> None:
    answer = page.post("/page/spam", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.fixture
def without_classifier(viewed: Shelf, tmp_path: Path) -> Iterator[TestClient]:
    shutil.copy(viewed.root / "params.yaml", tmp_path)
    shelf = Shelf(tmp_path)
    yield TestClient(make_app(shelf), base_url="http://127.0.0.1")
    shelf.close()


def test_a_missing_classifier_is_said(without_classifier: TestClient) -> None:
    answer = without_classifier.post("/page/spam", json={"text": "hello"})
    assert answer.status_code == 503
    assert "run `make repro`" in answer.json()["error"]["message"]
