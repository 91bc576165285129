"""Votes: kept whatever happens to the file or its writers, blind, and counted for the answers that they saw alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answered import answered, pair_rows

from scratchlm.errors import InputError
from scratchlm.judging.votes import (
    Question,
    Votes,
    add_vote,
    agree,
    pair_winners,
    questions_of,
    read_votes,
    score_winners,
    summarise_votes,
)

ENTRIES: list[Any] = [answered(number, f"b{number}", f"a{number}", f"p{number}") for number in range(20)]
PAIR = ("base", "assistant")
SRC = Path(__file__).parents[3] / "src"


def question(number: int, pair: Any = PAIR) -> Question:
    return Question(ENTRIES[number], pair)


def scored(judge: str, **scores: list[float | None]) -> list[Any]:
    """Rows of a judge's scores by variant, each of entries 0, 1, 2 ..."""
    return [
        {"id": number, "variant": variant, "judge": judge, "score": score}
        for variant, column in scores.items()
        for number, score in enumerate(column)
    ]


def writer(path: Path, first: int, n: int) -> subprocess.Popen[str]:
    """Start a process that adds `n` votes on entries from `first` on, and prints the number of each that is kept."""
    code = (
        "import sys; from pathlib import Path\n"
        "from scratchlm.judging.votes import add_vote\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):\n"
        "    vote = dict(id=number, pair=('base', 'assistant'), shown=('base', 'assistant'), winner='tie')\n"
        "    add_vote(Path(sys.argv[1]), vote | dict(question=f'{number:064x}'))\n"
        "    print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(first), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(SRC)})


def test_the_last_vote_on_a_question_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "data/votes.jsonl"
    assert read_votes(path) == Votes({}, 0)
    first, second = question(0), question(1)
    for vote in (first.vote("base"), second.vote("tie"), first.vote("assistant")):
        add_vote(path, vote)
    found = read_votes(path).by_question
    assert [(key, vote["winner"]) for key, vote in found.items()] == [(second.key, "tie"), (first.key, "assistant")]
    add_vote(path, first.vote(None))
    assert list(read_votes(path).by_question) == [second.key]
    assert len(path.read_text().splitlines()) == 4, "a line was removed"


def test_a_line_holds_who_was_compared_and_how_they_were_shown(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    add_vote(path, question(3).vote("assistant"))
    line = json.loads(path.read_text())
    assert line == {
        "id": 3, "pair": ["base", "assistant"], "shown": list(question(3).shown), "winner": "assistant",
        "question": question(3).key,
    }  # fmt: skip
    assert sorted(line["shown"]) == sorted(PAIR)


def test_two_processes_lose_no_vote(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    writers = [writer(path, first, 100) for first in (0, 100)]
    for one in writers:
        assert one.communicate(timeout=60)[0].split()[-1:] and one.returncode == 0
    votes = read_votes(path)
    assert votes.n_damaged == 0
    assert sorted(vote["id"] for vote in votes.by_question.values()) == list(range(200))


def test_a_kill_loses_no_vote_that_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    for first in (0, 10_000, 20_000):
        process = writer(path, first, 10_000)
        assert process.stdout is not None
        confirmed = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        confirmed += map(int, process.stdout.read().split())
        process.wait(timeout=10)
        votes = read_votes(path)
        assert {*confirmed} <= {int(vote["id"]) for vote in votes.by_question.values()}
    add_vote(path, question(0).vote("tie"))
    assert question(0).key in read_votes(path).by_question


@pytest.mark.parametrize(
    "damage",
    [
        *(b'{"id": 7, "pair": ["ba', b"\xff\xfe\x00", b"[]", b'{"id": 1}', b"{" * 100_000),
        json.dumps(Question(ENTRIES[2], ("base", "assistant")).vote("preferred")).encode(),
    ],
    ids=range(6),
)
def test_damaged_lines_are_counted_and_stay_as_they_are(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "votes.jsonl"
    add_vote(path, question(0).vote("tie"))
    with path.open("ab") as file:
        file.write(damage)
    before = path.read_bytes()
    assert read_votes(path).n_damaged == 1
    add_vote(path, question(1).vote("base"))
    assert path.read_bytes().startswith(before + b"\n")
    votes = read_votes(path)
    assert votes.n_damaged == 1
    assert list(votes.by_question) == [question(0).key, question(1).key]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "votes.jsonl").mkdir()
    with pytest.raises(InputError, match=r"the vote is not kept: .*votes\.jsonl cannot be written"):
        add_vote(tmp_path / "votes.jsonl", question(0).vote("tie"))
    with pytest.raises(InputError, match="cannot be read"):
        read_votes(tmp_path / "votes.jsonl")


def test_both_orders_occur_and_a_question_always_has_the_same() -> None:
    questions = questions_of(ENTRIES)
    assert len(questions) == 2 * len(ENTRIES)
    orders = Counter(one.shown == one.pair for one in questions)
    assert min(orders[True], orders[False]) >= len(questions) / 4
    again = {one.key: one.shown for one in questions_of(ENTRIES)}
    assert all(again[one.key] == one.shown for one in questions)
    mixed = [one.pair for one in questions[:10]]
    assert len({*mixed}) == 2, "the pairs come one after the other"


def test_equal_answers_are_no_question() -> None:
    entries: list[Any] = [answered(0, "same", "same", "other"), answered(1, "b", "a", "a")]
    assert [(one.entry["id"], one.pair) for one in questions_of(entries)] in (
        [(0, ("assistant", "preferred")), (1, PAIR)],
        [(1, PAIR), (0, ("assistant", "preferred"))],
    )
    first, second = summarise_votes(entries, Votes({}, 0), [], [])
    assert (first["n_questions"], first["n_equal"], first["n"], first["win_rate"]) == (1, 1, 0, None)
    assert (second["n_questions"], second["n_equal"]) == (1, 1)


@pytest.mark.parametrize("changed", ["instruction", "input", "base", "assistant", "id"])
def test_votes_on_earlier_answers_do_not_count(changed: str) -> None:
    new = {"base": {"text": "new"}, "assistant": {"text": "new"}, "id": 999}.get(changed, "new")
    entries = [{**ENTRIES[0], changed: new}, *ENTRIES[1:]]
    cast = [question(number).vote("assistant") for number in range(3)]
    votes = Votes({vote["question"]: vote for vote in cast}, 0)
    now, *_ = summarise_votes(entries, votes, [], [])
    assert (now["n"], now["n_earlier"], now["wins"]) == (2, 1, 2)
    then, *_ = summarise_votes(ENTRIES, votes, [], [])
    assert (then["n"], then["n_earlier"]) == (3, 0)


def test_what_is_no_part_of_the_question_does_not_matter() -> None:
    entries: list[Any] = [{**ENTRIES[0], "preferred": {"text": "new"}, "output": "new"}]
    assert Question(entries[0], PAIR).key == question(0).key


def test_the_win_rate_counts_a_tie_as_half() -> None:
    outcomes = ["assistant"] * 9 + ["tie"] * 4 + ["base"] * 3
    cast = [question(number).vote(outcome) for number, outcome in enumerate(outcomes)]  # type: ignore[arg-type]
    cast += [question(number, ("assistant", "preferred")).vote("preferred") for number in range(2)]
    first, second = summarise_votes(ENTRIES, Votes({vote["question"]: vote for vote in cast}, 0), [], [])
    assert first["pair"] == ["base", "assistant"]
    assert (first["wins"], first["ties"], first["losses"], first["n"]) == (9, 4, 3, 16)
    assert first["win_rate"] == pytest.approx(100 * 11 / 16)
    # The bootstrap's interval is near 1.96 standard errors: deviations 31.25, -18.75 and -68.75 points.
    error = ((9 * 31.25**2 + 4 * 18.75**2 + 3 * 68.75**2) / 16 / 16) ** 0.5
    assert first["ci95_low"] == pytest.approx(68.75 - 1.96 * error, abs=2)
    assert first["ci95_high"] == pytest.approx(68.75 + 1.96 * error, abs=2)
    assert (second["wins"], second["n"], second["win_rate"]) == (2, 2, 100)


def test_agreement_and_kappa_are_those_counted_by_hand() -> None:
    # 10 questions: both base 2, both tie 1, both assistant 4, and three times they differ.
    ours = [*"bb", *"t", *"aaaa", *"bta"]
    theirs = [*"bb", *"t", *"aaaa", *"aab"]
    found = agree(dict(enumerate(ours)), dict(enumerate(theirs)) | {99: "a"})
    assert (found["agreement"], found["n"]) == (pytest.approx(70), 10)
    # Ours: b 3, t 2, a 5; theirs: b 3, t 1, a 6. By chance 0.09 + 0.02 + 0.30 = 0.41.
    assert found["kappa"] == pytest.approx((0.7 - 0.41) / 0.59)
    assert agree({0: "a", 1: "a"}, {0: "a", 1: "a"}) == {"agreement": 100, "kappa": None, "n": 2}
    assert agree({0: "a"}, {1: "a"}) == {"agreement": None, "kappa": None, "n": 0}
    assert agree({0: "a", 1: "b"}, {0: "b", 1: "a"})["kappa"] == pytest.approx(-1)


def test_the_higher_score_wins_and_both_orders_must_agree() -> None:
    rows = scored("overlap", base=[0, 50, 10, None], assistant=[30, 50, 5, 1], preferred=[0, 0, 0, 0])
    expected = {"overlap": {0: "assistant", 1: "tie", 2: "base"}}
    assert score_winners([*rows, *scored("other", base=[1.0])], PAIR) == expected | {"other": {}}
    both: Any = [("base", "base"), ("assistant", "base"), (None, "base"), ("tie", "tie")]
    pairs: list[Any] = pair_rows(both, judge="ollama:x") + pair_rows([("preferred",) * 2], ("assistant", "preferred"))  # type: ignore[list-item]
    assert pair_winners(pairs[:8], PAIR) == {"ollama:x": {0: "base", 1: "tie", 3: "tie"}}


def test_judges_are_compared_over_what_was_voted() -> None:
    cast = [question(number).vote(winner) for number, winner in enumerate(["assistant", "tie", "base"])]  # type: ignore[arg-type]
    votes = Votes({vote["question"]: vote for vote in cast}, 0)
    scores = scored("overlap", base=[0, 0, 0, 0], assistant=[9, 0, 9, 9])
    asked: Any = pair_rows([("assistant", "assistant"), ("tie", "tie"), (None, "base")], judge="ollama:x")
    first, second = summarise_votes(ENTRIES, votes, scores, asked)
    # By chance: ours are one each of three; overlap's are assistant twice and tie once: 1/3 * 2/3 + 1/3 * 1/3 = 1/3.
    assert first["judges"] == [
        {"judge": "overlap", "by": "scores", "agreement": pytest.approx(200 / 3), "kappa": pytest.approx(0.5), "n": 3},
        {"judge": "ollama:x", "by": "pairs", "agreement": 100, "kappa": 1, "n": 2},
    ]
    assert second["judges"] == [{"judge": "overlap", "by": "scores", "agreement": None, "kappa": None, "n": 0}]
