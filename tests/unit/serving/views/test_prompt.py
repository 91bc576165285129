"""The prompt that the page shows is the one of training."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.serving.shelf import Shelf


@pytest.mark.parametrize("model", ["base", "assistant", "preferred"])
@pytest.mark.parametrize("input", ["", "The dog runs.", "<|endoftext|>"])
def test_text_and_ids_are_those_of_the_models_style(page: TestClient, viewed: Shelf, model: str, input: str) -> None:
    served = viewed.get(model)
    asked = {"model": model, "instruction": "Say it of many.", "input": input}
    expected = format_prompt(Entry(instruction="Say it of many.", input=input, output=""), served.style)
    answer = page.post("/page/prompt", json=asked).json()
    assert answer == {"prompt": expected, "ids": served.tokenizer.encode_ordinary(expected)}


def test_the_input_may_be_left_out_but_not_the_instruction(page: TestClient) -> None:
    assert page.post("/page/prompt", json={"model": "base", "instruction": "Say it."}).status_code == 200
    answer = page.post("/page/prompt", json={"model": "base", "instruction": ""})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "instruction")
