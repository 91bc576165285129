"""What may follow a text: the probabilities of generation, for the same rows at every setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from scratchlm.generation.decode import Sampling
from scratchlm.generation.next_token import expect_token
from scratchlm.serving.shelf import Served, Shelf
from scratchlm.serving.views.next_token import SHOWN_TOKENS, Text, expect_next
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary

TEXT = "the cat"


@pytest.fixture
def served(viewed: Shelf) -> Served:
    return viewed.get("pretrained")


def ask(page: TestClient, **changed: Any) -> Any:
    return page.post("/page/next_token", json={"model": "pretrained", "text": TEXT} | changed).json()


@pytest.mark.parametrize(
    ("temperature", "top_k"), [(1.0, None), (0.5, None), (0, None), (2.0, 5), (1, 1), (0.01, 10_000)]
)
def test_each_row_has_the_probability_from_which_generation_draws(
    page: TestClient, served: Served, temperature: float, top_k: int | None
) -> None:
    ids = served.tokenizer.encode_ordinary(TEXT)
    own_V = expect_token(served.model, ids, Sampling(1.0))
    drawn_V = expect_token(served.model, ids, Sampling(temperature, top_k))
    answer = ask(page, temperature=temperature, top_k=top_k)
    rows = [row["id"] for row in answer["tokens"]]
    assert rows == own_V.sort(descending=True, stable=True).indices[:SHOWN_TOKENS].tolist()
    for row in answer["tokens"]:
        assert row["probability"] == float(drawn_V[row["id"]])
        assert row["at_1"] == float(own_V[row["id"]])
    n_possible = int((drawn_V > 0).sum())
    assert answer["n_others"] == max(0, n_possible - SHOWN_TOKENS)
    assert sum(row["probability"] for row in answer["tokens"]) + answer["others"] == pytest.approx(1, abs=1e-5)


def test_tokens_that_were_taken_are_read_as_these_tokens(page: TestClient, served: Served) -> None:
    taken = [5, 90, 5]
    answer = ask(page, taken=taken)
    ids = [*served.tokenizer.encode_ordinary(TEXT), *taken]
    assert answer["ids"] == ids
    assert answer["taken_text"] == served.tokenizer.decode(taken)
    drawn_V = expect_token(served.model, ids, Sampling(1.0))
    assert all(row["probability"] == float(drawn_V[row["id"]]) for row in answer["tokens"])


def test_special_tokens_count_as_such(page: TestClient, served: Served) -> None:
    assert ask(page, text="the<|endoftext|>")["ids"][-1] == served.tokenizer.eot_token


@pytest.mark.parametrize("n_more", [0, 5])
def test_nothing_follows_a_text_that_fills_the_context(page: TestClient, served: Served, n_more: int) -> None:
    context = served.model.config.context_length
    full = ask(page, text="~" * (context + n_more))
    assert (full["tokens"], full["n_others"], len(full["ids"])) == ([], 0, context + n_more)
    assert len(ask(page, text="~" * (context - 1))["tokens"]) == SHOWN_TOKENS


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"text": ""}, 400, "text"),
        ({"taken": [-1]}, 400, "taken"),
        ({"taken": [300]}, 400, "taken"),
        ({"temperature": 0.001}, 400, "temperature"),
        ({"temperature": 101}, 400, "temperature"),
        ({"top_k": 0}, 400, "top_k"),
        ({"model": "gpt-5"}, 404, "model"),
    ],
)
def test_what_cannot_be_answered_is_refused(page: TestClient, changed: dict[str, Any], status: int, param: str) -> None:
    answer = page.post("/page/next_token", json={"model": "pretrained", "text": TEXT} | changed)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_words_that_were_taken_have_blanks_between(served: Served) -> None:
    words = " ".join([2 * "the cat sat . ", *map(str, range(served.model.config.vocab_size))])
    tokenizer = WordTokenizer(build_vocabulary([words], served.model.config.vocab_size))
    asked = Text(model="pretrained", text="the", taken=tokenizer.encode_ordinary("cat sat."))
    assert expect_next(replace(served, tokenizer=tokenizer), asked)["taken_text"] == " cat sat."
