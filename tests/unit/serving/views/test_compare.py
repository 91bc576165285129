"""The view Compare asks blind, keeps each vote, and says what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answered import answered, pair_rows
from starlette.testclient import TestClient

ENTRIES = [answered(number, f"b{number}", f"a{number}", f"p{number}") for number in range(4)]
NAMES = ("base", "assistant", "preferred")
PAIR = "base and assistant"


@pytest.fixture(autouse=True)
def responses(data: Path) -> Iterator[Path]:
    """Answers without votes or verdicts."""
    path = data / "responses.json"
    path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    yield path
    for name in ("responses.json", "verdicts.json", "pairwise.json", "votes.jsonl"):
        (data / name).unlink(missing_ok=True)


def post(page: TestClient, path: str = "", **body: Any) -> Any:
    answer = page.post(f"/page/compare{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def error(page: TestClient, path: str = "", **body: Any) -> tuple[int, str]:
    answer = page.post(f"/page/compare{path}", json=body)
    return answer.status_code, answer.json()["error"]["message"]


def kept(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "votes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("pair", [None, PAIR, "assistant and preferred"])
def test_a_question_does_not_say_whose_the_answers_are(page: TestClient, pair: str | None) -> None:
    answer = page.post("/page/compare", json={"pair": pair})
    assert [name for name in NAMES if name in answer.text] == []
    asked = answer.json()["asked"]
    assert set(asked) == {"question", "instruction", "input", "reference", "first", "second"}
    number = asked["reference"].removeprefix("Fruit ").removesuffix(".")
    letters = {None: {"b", "a", "p"}, PAIR: {"b", "a"}}.get(pair, {"a", "p"})
    assert {asked["first"], asked["second"]} <= {letter + number for letter in letters}
    post(page, "/vote", question=asked["question"], better="same", pair=pair)
    undone = page.post("/page/compare/undo", json={"pair": pair})
    assert [name for name in NAMES if name in undone.text] == []


@pytest.mark.parametrize("better", ["first", "second", "same"])
def test_a_vote_is_kept_under_the_winners_name_and_reveals_both(page: TestClient, data: Path, better: str) -> None:
    orders = set()
    for _ in range(8):
        asked = post(page)["asked"]
        told = post(page, "/vote", question=asked["question"], better=better)
        letters = {"b": "base", "a": "assistant", "p": "preferred"}
        assert (told["first"], told["second"]) == (letters[asked["first"][0]], letters[asked["second"][0]])
        vote = kept(data)[-1]
        assert vote["winner"] == {"first": told["first"], "second": told["second"], "same": "tie"}[better]
        assert vote["shown"] == [told["first"], told["second"]]
        orders.add(vote["shown"] == vote["pair"])
    assert orders == {True, False}, "the same model always came first"


def test_every_question_comes_once_and_then_none(page: TestClient) -> None:
    seen = []
    for n in range(8):
        answer = post(page)
        assert (answer["n"], answer["n_questions"]) == (n, 8)
        seen.append(answer["asked"]["question"])
        assert post(page, "/vote", question=seen[-1], better="first")["n"] == n + 1
    assert len({*seen}) == 8
    assert post(page) == {"n": 8, "n_questions": 8, "n_damaged": 0, "asked": None}
    assert post(page, pair=PAIR)["n_questions"] == 4


def test_undo_takes_back_the_last_vote_that_stands(page: TestClient, data: Path) -> None:
    first, second = vote_once(page), vote_once(page)
    assert post(page, "/undo")["asked"]["question"] == second
    undone = post(page, "/undo")
    assert (undone["asked"]["question"], undone["n"]) == (first, 0)
    assert error(page, "/undo") == (409, "there is no vote to take back")
    assert [vote["winner"] is None for vote in kept(data)] == [False, False, True, True]
    assert post(page)["asked"]["question"] == first


def test_votes_count_for_the_answers_that_were_seen_alone(page: TestClient, data: Path, responses: Path) -> None:
    asked = post(page, pair=PAIR)["asked"]
    post(page, "/vote", question=asked["question"], better="first", pair=PAIR)
    other = post(page, pair=PAIR)["asked"]
    changed = [answered(number, f"new {number}", f"a{number}", f"p{number}") for number in range(4)]
    responses.write_text(json.dumps(changed), encoding="utf-8")
    status, words = error(page, "/vote", question=other["question"], better="first")
    assert (status, words) == (409, "the vote is not kept: the answers are others by now; load the page again")
    assert len(kept(data)) == 1
    first, _ = post(page, "/results")["pairs"]
    assert (first["n"], first["n_earlier"]) == (0, 1)
    assert error(page, "/undo")[0] == 409


def test_results_name_the_pair_its_rate_and_the_judges(page: TestClient, data: Path) -> None:
    for _ in range(4):
        asked = post(page, pair=PAIR)["asked"]
        better = "first" if asked["first"].startswith("a") else "second"
        post(page, "/vote", question=asked["question"], better=better, pair=PAIR)
    assert post(page, "/results")["is_judged"] is False
    scores = [
        {"id": number, "variant": variant, "judge": "overlap", "score": score}
        for number in range(4)
        for variant, score in (("base", 0.0), ("assistant", 100.0 * (number > 0)))
    ]
    (data / "verdicts.json").write_text(json.dumps(scores), encoding="utf-8")
    pairs = pair_rows([("assistant", "assistant")] * 3 + [("base", "base")], judge="ollama:x")
    (data / "pairwise.json").write_text(json.dumps(pairs), encoding="utf-8")
    found = post(page, "/results")
    first, second = found["pairs"]
    assert found["is_judged"] is True
    assert (first["name"], first["win_rate"], first["wins"], first["n"]) == (PAIR, 100, 4, 4)
    agreed = [(judge["judge"], judge["by"], judge["agreement"], judge["n"]) for judge in first["judges"]]
    assert agreed == [("overlap", "scores", 75, 4), ("ollama:x", "pairs", 75, 4)]
    assert (second["n"], second["win_rate"]) == (0, None)


def test_a_damaged_line_is_counted_and_kept(page: TestClient, data: Path) -> None:
    (data / "votes.jsonl").write_bytes(b'{"id": 1, "pa')
    answer = post(page)
    assert (answer["n"], answer["n_damaged"]) == (0, 1)
    post(page, "/vote", question=answer["asked"]["question"], better="same")
    assert (data / "votes.jsonl").read_bytes().startswith(b'{"id": 1, "pa\n{')
    assert post(page)["n"] == 1


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"id": 1}]', "["])
def test_damaged_verdicts_are_said(page: TestClient, data: Path, content: str) -> None:
    (data / "verdicts.json").write_text(content, encoding="utf-8")
    status, words = error(page, "/results")
    assert (status, "verdicts.json" in words, "run `make repro`" in words) == (503, True, True)


@pytest.mark.parametrize("path", ["", "/undo", "/results"])
def test_missing_answers_name_the_stage_to_run(page: TestClient, responses: Path, path: str) -> None:
    responses.unlink()
    status, words = error(page, path)
    assert (status, "`dvc repro generate_responses`" in words) == (404, True)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("", {"pair": "base and preferred"}, 400, "wanted 'base and assistant' or 'assistant and preferred'"),
        ("/vote", {"question": "0" * 64, "better": "first"}, 409, "not kept"),
        ("/vote", {"question": "0" * 64, "better": "third"}, 400, "better: got"),
        ("/vote", {"better": "first"}, 400, "question: missing"),
    ],
)
def test_what_is_no_vote_is_refused(
    page: TestClient, data: Path, path: str, body: Any, status: int, words: str
) -> None:
    found, said = error(page, path, **body)
    assert (found, words in said) == (status, True), said
    assert not (data / "votes.jsonl").exists()


def vote_once(page: TestClient) -> str:
    question: str = post(page)["asked"]["question"]
    post(page, "/vote", question=question, better="first")
    return question
