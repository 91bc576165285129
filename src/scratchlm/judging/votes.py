"""Votes: which of two answers a human prefers, seen without knowing whose they are (chapters 7.7 and 7.8)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from scratchlm.assistant.instructions import COMPARED, AnsweredEntry, Variant
from scratchlm.errors import InputError
from scratchlm.files.atomic import flush
from scratchlm.judging.pairwise import winner_of
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import mean_of

VOTES = Path("data/votes.jsonl")
SEED = 123  # of the bootstrap

Pair = tuple[Variant, Variant]
Winner = Variant | Literal["tie"]


class Vote(TypedDict):
    """A line of data/votes.jsonl. Of several about the same question, the last one counts."""

    id: int | str  # the entry's
    pair: Pair
    shown: Pair  # the same two, in the order in which their answers were shown
    winner: Winner | None  # None takes the vote back
    question: str  # its key, which holds the answers: those of another run make another question


VOTE = TypeAdapter(Vote)


@dataclass(frozen=True)
class Question:
    """Which of two models answered an entry better."""

    entry: AnsweredEntry
    pair: Pair

    @property
    def texts(self) -> tuple[str, str]:
        """Both answers, in the order of `pair`."""
        one, two = self.pair
        return self.entry[one]["text"], self.entry[two]["text"]

    @property
    def key(self) -> str:
        """The sha256 of the task and both answers; it does not say whose answer is whose."""
        entry = self.entry
        return _sha256([entry["id"], entry["instruction"], entry["input"], *self.texts])

    @property
    def shown(self) -> Pair:
        """The pair in the order in which its answers are shown: by chance, but always the same for a question."""
        return self.pair if int(_sha256(["order", self.key]), 16) % 2 else self.pair[::-1]

    def vote(self, winner: Winner | None) -> Vote:
        """Return a vote on it."""
        return Vote(id=self.entry["id"], pair=self.pair, shown=self.shown, winner=winner, question=self.key)


def questions_of(entries: Sequence[AnsweredEntry]) -> list[Question]:
    """Return a question for each entry and pair, shuffled, but always in the same way.

    Where both answers are the same text there is nothing to ask, so that these pairs have no question.
    """
    questions = [Question(entry, pair) for pair in COMPARED.values() for entry in entries]
    return sorted(
        (question for question in questions if len({*question.texts}) == 2), key=lambda question: question.key
    )


class Votes(NamedTuple):
    """The votes that stand, by the key of their question, the last one at the end; and lines that are none."""

    by_question: dict[str, Vote]
    n_damaged: int


def read_votes(path: Path) -> Votes:
    """Read the votes in a file, which need not be there; raise InputError if it cannot be read.

    A damaged line, such as one that a power cut left half-written, is counted and passed over.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits until a line is whole
            content = file.read()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    found: dict[str, Vote] = {}
    n_damaged = 0
    for line in filter(None, content.split(b"\n")):
        try:
            vote = VOTE.validate_json(line)
        except ValidationError:
            vote = None
        if vote is None or vote["winner"] not in (*vote["pair"], "tie", None):
            n_damaged += 1
            continue
        found.pop(vote["question"], None)  # so that the last vote is at the end
        if vote["winner"] is not None:
            found[vote["question"]] = vote
    return Votes(found, n_damaged)


def add_vote(path: Path, vote: Vote) -> None:
    """Add a line to a file of votes, and return when it is on the disk; what is in the file stays as it is.

    Safe with several processes. Raises InputError if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            line = json.dumps(vote).encode() + b"\n"
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line  # after a line that was cut off
            if file.write(line) != len(line):
                raise OSError(0, "only a part of a line was written")
            os.fsync(file.fileno())
        if not size:
            flush(path.parent)  # so that the new name survives a power cut
    except OSError as error:
        raise InputError(f"the vote is not kept: {path} cannot be written ({error.strerror})") from None


def summarise_votes(
    entries: Sequence[AnsweredEntry], votes: Votes, verdicts: Sequence[Row], pairwise: Sequence[Row]
) -> list[dict[str, Any]]:
    """Return for each pair the second model's win rate by the votes, and how far the judges agree with them.

    `win_rate` is in percent with a 95 % interval. A tie is half a win, as in `summarise_pairs`; but the `n_equal` pairs
    of one and the same text are left out, so that nothing is said before anybody voted. `n` of `n_questions` have a
    vote; `n_earlier` votes are on answers that are no longer those of `entries`.
    `judges` holds how each judge agrees (see `agree`): of `verdicts` the higher score wins, of `pairwise` what the
    judge said in both orders.
    """
    questions = questions_of(entries)
    keys = {question.key for question in questions}
    found = []
    for pair in COMPARED.values():
        cast = [vote for vote in votes.by_question.values() if vote["pair"] == pair]
        winners = {vote["id"]: str(vote["winner"]) for vote in cast if vote["question"] in keys}
        points = {pair[0]: 0.0, "tie": 50.0, pair[1]: 100.0}  # in percent of a win
        rate = mean_of(np.array([points[winner] for winner in winners.values()]), SEED)
        outcomes = list(winners.values())
        n_questions = sum(question.pair == pair for question in questions)
        found.append(
            {
                "pair": list(pair),
                "win_rate": rate.value,
                "ci95_low": rate.low,
                "ci95_high": rate.high,
                "wins": outcomes.count(pair[1]),
                "ties": outcomes.count("tie"),
                "losses": outcomes.count(pair[0]),
                "n": len(winners),
                "n_questions": n_questions,
                "n_equal": len(entries) - n_questions,
                "n_earlier": len(cast) - len(winners),
                "judges": [
                    {"judge": judge, "by": by, **agree(winners, theirs)}
                    for by, judged in (
                        ("scores", score_winners(verdicts, pair)),
                        ("pairs", pair_winners(pairwise, pair)),
                    )
                    for judge, theirs in judged.items()
                ],
            }
        )
    return found


def score_winners(verdicts: Sequence[Row], pair: Pair) -> dict[str, dict[int | str, str]]:
    """Return, by judge and entry, which of a pair has the higher score, or "tie"; without both scores nothing."""
    scores: dict[str, tuple[dict[int | str, float], dict[int | str, float]]] = {}
    for row in verdicts:
        by_entry = scores.setdefault(row["judge"], ({}, {}))
        if row["variant"] in pair and row["score"] is not None:
            by_entry[pair.index(row["variant"])][row["id"]] = row["score"]
    one, two = pair
    return {
        judge: {
            key: "tie" if first[key] == second[key] else one if first[key] > second[key] else two
            for key in first
            if key in second
        }
        for judge, (first, second) in scores.items()
    }


def pair_winners(pairwise: Sequence[Row], pair: Pair) -> dict[str, dict[int | str, str]]:
    """Return, by judge and entry, the winner that a judge named in both orders, or "tie"; see `winner_of`."""
    named: dict[str, dict[int | str, list[str | None]]] = {}
    for row in pairwise:
        if {row["variant"], row["other"]} == {*pair}:
            named.setdefault(row["judge"], {}).setdefault(row["id"], []).append(row["winner"])
    return {
        judge: {key: winner for key, both in by_entry.items() if (winner := winner_of(*both))}
        for judge, by_entry in named.items()
    }


def agree(winners: Mapping[int | str, str], others: Mapping[int | str, str]) -> dict[str, float | int | None]:
    """Return how often two judges name the same winner, in percent, and Cohen's kappa, over what both judged.

    Kappa is 1 where they always agree, and 0 where they agree as often as chance does with how often each names whom
    (Cohen 1960). None over nothing, and where both always name one and the same.
    """
    pairs = [(winner, others[key]) for key, winner in winners.items() if key in others]
    n = len(pairs)
    if not n:
        return {"agreement": None, "kappa": None, "n": 0}
    agreed = sum(one == other for one, other in pairs) / n
    ours, theirs = (Counter(judge) for judge in zip(*pairs, strict=True))
    by_chance = sum(ours[winner] * theirs[winner] for winner in ours) / n**2
    kappa = None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
    return {"agreement": 100 * agreed, "kappa": kappa, "n": n}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
