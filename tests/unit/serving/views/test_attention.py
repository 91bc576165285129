"""The view Attention gives the weights that the model itself uses."""

from __future__ import annotations

from threading import Event, Thread

import pytest
import torch
from starlette.testclient import TestClient

from scratchlm.anatomy.inside import attention_maps
from scratchlm.serving.shelf import Shelf

TEXT = "the dog ran over the hill"


def ask(page: TestClient, **changed: object) -> dict[str, list[list[list[float]]]]:
    answer = page.post("/page/attention", json={"model": "assistant", "text": TEXT, "layer": 0} | changed)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("model", ["pretrained", "assistant"])
def test_weights_are_the_models_own_and_sum_to_one(page: TestClient, viewed: Shelf, model: str, layer: int) -> None:
    answer = ask(page, model=model, layer=layer)
    served = viewed.get(model)
    own = attention_maps(served.model, served.tokenizer.encode_ordinary(TEXT))
    assert (answer["n_layers"], len(answer["heads"])) == own.shape[:2]
    for head, rows in enumerate(answer["heads"]):
        for t, row in enumerate(rows):
            assert len(row) == t + 1, "a token sees none that comes later"
            assert sum(row) == pytest.approx(1, abs=1e-6 * len(row))
            assert row == pytest.approx(own[layer, head, t, : t + 1].tolist(), abs=1e-6)


def test_a_layer_beyond_the_last_is_the_last(page: TestClient) -> None:
    """The layer stays chosen while the models change, and one may have fewer."""
    answer = ask(page, layer=7)
    assert (answer["layer"], answer["n_layers"]) == (1, 2)
    assert answer == ask(page, layer=1)


def test_tokens_are_named_as_on_the_models_pictures(page: TestClient) -> None:
    assert ask(page, text="the\n<b>")["tokens"] == ["the", "\\n", "<", "b", ">"]


def test_maps_are_those_of_the_asked_text_while_the_model_generates(viewed: Shelf) -> None:
    model, ids = viewed.get("assistant").model, [5, 9, 30, 2]
    alone = attention_maps(model, ids)
    stop = Event()

    def generate() -> None:
        with torch.no_grad():
            while not stop.is_set():
                model.features(torch.tensor([[7, 7, 7]]))

    other = Thread(target=generate)
    other.start()
    try:
        for _ in range(20):
            maps = attention_maps(model, ids)
            assert maps.shape == alone.shape
            torch.testing.assert_close(maps, alone)
    finally:
        stop.set()
        other.join()


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"text": ""}, 400, "the text has 0 tokens, wanted 1 to 64"),
        ({"text": "z" * 65}, 400, "the text has 65 tokens, wanted 1 to 64"),
        ({"layer": -1}, 400, "layer: got -1"),
        ({"model": "gpt-4"}, 404, "no model 'gpt-4'"),
    ],
    ids=["empty", "long", "negative", "model"],
)
def test_what_has_no_map_is_refused(page: TestClient, changed: dict[str, object], status: int, words: str) -> None:
    answer = page.post("/page/attention", json={"model": "assistant", "text": TEXT, "layer": 0} | changed)
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
