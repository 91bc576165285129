"""The view Compare: which of two answers is better, asked without saying whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scratchlm.assistant.instructions import COMPARED
from scratchlm.errors import OutputError
from scratchlm.files.text import read_json
from scratchlm.judging.comparison import ROW_KEYS
from scratchlm.judging.responses import read_responses
from scratchlm.judging.verdicts import Row
from scratchlm.judging.votes import VOTES, Question, Votes, Winner, add_vote, questions_of, read_votes, summarise_votes
from scratchlm.serving.bodies import Body, Refused, read_body
from scratchlm.serving.shelf import Shelf

RESPONSES, VERDICTS, PAIRWISE = "responses.json", "verdicts.json", "pairwise.json"
PAIRS = {f"{one} and {two}": (one, two) for one, two in COMPARED.values()}


class Pair(Body):
    """Whose answers to compare: a name in `PAIRS`, or None for all of them mixed."""

    pair: str | None = None


class NewVote(Pair):
    """Which answer to a question is better."""

    question: str
    better: Literal["first", "second", "same"]


def routes(shelf: Shelf) -> list[Route]:
    """Return the routes that ask a question, keep a vote, take it back, and tell what came of all."""
    ballots = Ballots(shelf.root / "data")

    async def ask(request: Request) -> JSONResponse:
        asked = await read_body(request, Pair)
        return JSONResponse(await run_in_threadpool(ballots.ask, asked.pair))

    async def vote(request: Request) -> JSONResponse:
        new = await read_body(request, NewVote)
        return JSONResponse(await run_in_threadpool(ballots.vote, new))

    async def undo(request: Request) -> JSONResponse:
        asked = await read_body(request, Pair)
        return JSONResponse(await run_in_threadpool(ballots.undo, asked.pair))

    async def results(request: Request) -> JSONResponse:
        await read_body(request, Body)
        return JSONResponse(await run_in_threadpool(ballots.results))

    return [
        Route("/page/compare", ask, methods=["POST"]),
        Route("/page/compare/vote", vote, methods=["POST"]),
        Route("/page/compare/undo", undo, methods=["POST"]),
        Route("/page/compare/results", results, methods=["POST"]),
    ]


class Ballots:
    """The questions and votes in a project's `data` folder, read anew each time: a stage may have run meanwhile."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def ask(self, pair: str | None) -> dict[str, Any]:
        """Return the next question without a vote, None after the last one."""
        questions, votes = self._questions(pair), self._votes()
        new = next((question for question in questions if question.key not in votes.by_question), None)
        return self._answer(new, questions, votes)

    def vote(self, new: NewVote) -> dict[str, Any]:
        """Keep a vote, and return whose the two answers were. Raises Refused if the answers are others by now."""
        questions = self._questions(new.pair)
        question = next((question for question in questions if question.key == new.question), None)
        if question is None:
            raise Refused(409, "the vote is not kept: the answers are others by now; load the page again", "question")
        first, second = question.shown
        winners: dict[str, Winner] = {"first": first, "second": second, "same": "tie"}
        add_vote(self.data / VOTES.name, question.vote(winners[new.better]))
        return self._progress(questions, self._votes()) | {"first": first, "second": second}

    def undo(self, pair: str | None) -> dict[str, Any]:
        """Take the last vote back and return its question. Raises Refused if there is no vote."""
        questions, votes = self._questions(pair), self._votes()
        by_key = {question.key: question for question in questions}
        last = next((by_key[key] for key in reversed(votes.by_question) if key in by_key), None)
        if last is None:
            raise Refused(409, "there is no vote to take back")
        add_vote(self.data / VOTES.name, last.vote(None))
        return self._answer(last, questions, self._votes())

    def results(self) -> dict[str, Any]:
        """Return what the votes say, and which judges' files are missing."""
        judged = {name: self._rows(name) for name in (VERDICTS, PAIRWISE)}
        votes = self._votes()
        summary = summarise_votes(read_responses(self._responses()), votes, judged[VERDICTS], judged[PAIRWISE])
        named = [{"name": name, **found} for name, found in zip(PAIRS, summary, strict=True)]
        return {"pairs": named, "n_damaged": votes.n_damaged, "is_judged": any(judged.values())}

    def _answer(self, question: Question | None, questions: list[Question], votes: Votes) -> dict[str, Any]:
        asked = None
        if question is not None:
            entry, (first, second) = question.entry, question.shown
            asked = {
                "question": question.key,
                "instruction": entry["instruction"],
                "input": entry["input"],
                "reference": entry["output"],
                "first": entry[first]["text"],
                "second": entry[second]["text"],
            }
        return self._progress(questions, votes) | {"asked": asked}

    def _progress(self, questions: list[Question], votes: Votes) -> dict[str, Any]:
        n = sum(question.key in votes.by_question for question in questions)
        return {"n": n, "n_questions": len(questions), "n_damaged": votes.n_damaged}

    def _questions(self, pair: str | None) -> list[Question]:
        if pair is not None and pair not in PAIRS:
            raise Refused(400, f"pair is {pair!r}, wanted {' or '.join(map(repr, PAIRS))}, or null for all", "pair")
        questions = questions_of(read_responses(self._responses()))
        return [question for question in questions if pair is None or question.pair == PAIRS[pair]]

    def _responses(self) -> Path:
        path = self.data / RESPONSES
        if not path.exists():
            raise Refused(404, "there are no answers to compare yet: `dvc repro generate_responses` makes them")
        return path

    def _votes(self) -> Votes:
        return read_votes(self.data / VOTES.name)

    def _rows(self, name: str) -> list[Row]:
        path, wanted = self.data / name, f"a list of objects with {', '.join(ROW_KEYS)}"
        if not path.exists():
            return []
        rows: list[Row] = read_json(path, wanted, OutputError)
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= {*ROW_KEYS} for row in rows):
            raise OutputError(f"{path} holds something else, wanted {wanted}")
        return rows
