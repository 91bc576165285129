"""How a text is cut: every token with its bytes, and what kind it is."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from scratchlm.serving.shelf import Shelf
from scratchlm.serving.views.tokens import SHOWN_TOKENS, describe_tokens
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary


@pytest.mark.parametrize("text", ["the cat sat.", "", "é ☂\n\t", "the<|endoftext|>cat"])
def test_ids_bytes_and_counts_are_those_of_the_text(page: TestClient, viewed: Shelf, text: str) -> None:
    tokenizer = viewed.get("assistant").tokenizer
    answer = page.post("/page/tokens", json={"model": "assistant", "text": text}).json()
    ids = tokenizer.encode(text, allowed_special="all")
    assert [token["id"] for token in answer["tokens"]] == ids
    assert b"".join(bytes.fromhex(token["bytes"]) for token in answer["tokens"]) == text.encode()
    counts = [answer[key] for key in ("n_characters", "n_bytes", "n_tokens", "n_vocab")]
    assert counts == [len(text), len(text.encode()), len(ids), tokenizer.n_vocab]


def test_tokens_say_of_which_kind_they_are(page: TestClient) -> None:
    answer = page.post("/page/tokens", json={"model": "assistant", "text": "t é\ufffd<|endoftext|>"}).json()
    kinds = [(token["label"], token["partial"], token["special"]) for token in answer["tokens"]]
    assert kinds == [
        ("t", False, False),
        ("␣", False, False),
        *((rf"\x{byte}", True, False) for byte in ("c3", "a9", "ef", "bf", "bd")),
        ("<|endoftext|>", False, True),
    ]


def test_a_word_that_no_vocabulary_has_is_special() -> None:
    tokenizer = WordTokenizer(build_vocabulary(["the cat sat"], 100))
    kinds = [token["special"] for token in describe_tokens(tokenizer, tokenizer.encode_ordinary("the dog"))]
    assert kinds == [False, True]


def test_only_so_many_tokens_are_sent(page: TestClient) -> None:
    answer = page.post("/page/tokens", json={"model": "assistant", "text": "~" * (SHOWN_TOKENS + 7)}).json()
    assert (answer["n_tokens"], len(answer["tokens"])) == (SHOWN_TOKENS + 7, SHOWN_TOKENS)
