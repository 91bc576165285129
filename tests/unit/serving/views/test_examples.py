"""Examples come from the project's data; without it there are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from scratchlm.classifier.labels import write_labels
from scratchlm.classifier.messages import write_split_csv
from scratchlm.serving.views.examples import LONGEST, N_EXAMPLES, read_instructions, read_messages, read_texts


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A data folder with more of each kind than are shown."""
    for folder in ("corpus", "instructions", "sms"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        (tmp_path / f"corpus/{number}.txt").write_text(f"Text number {number} goes on and on.")
    entries = [{"instruction": f"Do {number}.", "input": "", "output": "Done."} for number in range(9)]
    entries[0]["input"] = "x" * LONGEST
    (tmp_path / "instructions/test.json").write_text(json.dumps(entries))
    write_labels(tmp_path / "sms", ["ham", "other", "spam"])
    labels, texts = [0, 0, 0, 0, 2, 1, 2], ["h1", "h2", "h3", "h" * 200, "s1", "o1", "s2"]
    write_split_csv(tmp_path / "sms/test.csv", pd.DataFrame({"Label": labels, "Text": texts}))
    return tmp_path


def test_they_are_taken_from_all_over_the_data(many: Path) -> None:
    assert read_texts(many) == [f"Text number {number} goes" for number in (0, 2, 4, 6)]
    assert read_instructions(many) == [{"instruction": f"Do {number}.", "input": ""} for number in (1, 3, 5, 7)]
    assert read_messages(many) == ["h1", "o1", "s1", "h2"]


def test_few_are_each_shown_once(page: TestClient, data: Path) -> None:
    answer = page.post("/page/examples", json={}).json()
    assert answer["texts"] == ["the cat sat on"]
    asked = [
        (entry["instruction"], entry["input"]) for entry in json.loads((data / "instructions/test.json").read_text())
    ]
    assert [(one["instruction"], one["input"]) for one in answer["instructions"]] == asked[:N_EXAMPLES]
    assert len(answer["messages"]) == len(set(answer["messages"])) > 0


@pytest.fixture
def without_data(data: Path, tmp_path: Path) -> Iterator[None]:
    shutil.move(data, tmp_path / "kept")
    yield
    shutil.move(tmp_path / "kept", data)


@pytest.mark.usefixtures("without_data")
def test_without_data_there_are_none(page: TestClient) -> None:
    assert page.post("/page/examples", json={}).json() == {"texts": [], "instructions": [], "messages": []}


def test_damaged_data_is_left_out(many: Path, page: TestClient, data: Path, tmp_path: Path) -> None:
    path = data / "instructions/test.json"
    before = path.read_text()
    path.write_text("{")
    answer = page.post("/page/examples", json={}).json()
    path.write_text(before)
    assert answer["instructions"] == [] and answer["texts"]
