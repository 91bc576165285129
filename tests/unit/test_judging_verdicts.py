"""The judging of all answers: a row for each, in order, the same bytes each time, no asking of the dead."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from scratchlm.errors import InputError
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.verdicts import Verdict, judge_responses


def make_entries(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": 10 * number,
            "instruction": f"Say the word for {number}.",
            "input": "",
            "output": f"It is word{number}.",
            "base": {"text": "" if number == 1 else "Say", "finish": "stop", "tokens": 1},
            "assistant": {"text": f"It is word{number}.", "finish": "stop", "tokens": 5},
        }
        for number in range(count)
    ]


@dataclass
class ScriptedJudge:
    """Returns the verdicts it was given, in order."""

    verdicts: list[Verdict]
    asked: list[str] = field(default_factory=list)
    backend: ClassVar[str] = "scripted"
    model: str = "script"
    model_digest: None = None

    def judge(self, entry: Any, response: str) -> Verdict:
        self.asked.append(response)
        return self.verdicts[len(self.asked) - 1]


OK = Verdict("ok", 50.0)
FAILED = Verdict("http_error", None, "503 busy", attempts=4)


def test_every_answer_gets_one_row_with_the_same_fields_in_order() -> None:
    rows = judge_responses(make_entries(3), OverlapJudge())
    assert [(row["id"], row["variant"]) for row in rows] == [
        (0, "base"), (0, "assistant"), (10, "base"), (10, "assistant"), (20, "base"), (20, "assistant")
    ]  # fmt: skip
    assert [row["score"] for row in rows if row["variant"] == "assistant"] == [100, 100, 100]
    assert rows[2]["status"] == "empty" and rows[2]["score"] == 0
    identity = ("id", "variant", "judge", "model", "model_digest", "prompt_sha256")
    outcome = ("status", "score", "reason", "raw", "attempts")
    measures = ("exact_match", "token_f1", "chrf", "prompt_chrf")
    assert {tuple(row) for row in rows} == {identity + outcome + measures}


def test_the_same_answers_give_the_same_bytes() -> None:
    first, second = (json.dumps(judge_responses(make_entries(4), OverlapJudge())) for _ in range(2))
    assert first == second


def test_after_five_failures_in_a_row_the_rest_gets_rows_unasked() -> None:
    judge = ScriptedJudge([OK, FAILED, OK] + [FAILED] * 5 + [OK] * 20)
    rows = judge_responses(make_entries(10), judge)
    assert len(judge.asked) == 8
    assert len(rows) == 20
    assert [row["score"] is not None for row in rows] == [True, False, True] + [False] * 17
    assert all(row["reason"] == "not asked: 5 failures in a row" and row["attempts"] == 0 for row in rows[8:])


def test_an_empty_answer_is_no_sign_of_life() -> None:
    empty = Verdict("empty", 0.0, attempts=0)
    judge = ScriptedJudge([FAILED, empty, FAILED, empty, FAILED, FAILED, FAILED, OK])
    rows = judge_responses(make_entries(4), judge)
    assert len(judge.asked) == 7
    assert rows[7]["reason"].startswith("not asked")


def test_failures_that_come_one_by_one_do_not_stop_it() -> None:
    unread = Verdict("parse_error", None, raw="Good!")
    rows = judge_responses(make_entries(8), ScriptedJudge([FAILED] * 4 + [unread] + [FAILED] * 4 + [OK] * 7))
    assert [row["status"] for row in rows].count("http_error") == 8
    assert rows[4]["raw"] == "Good!"


def test_no_responses_are_refused() -> None:
    with pytest.raises(InputError, match="generate_responses"):
        judge_responses([], OverlapJudge())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_failures_on_a_terminal_and_is_silent_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown(stream: io.StringIO) -> str:
        monkeypatch.setattr("sys.stderr", stream)
        judge_responses(make_entries(2), ScriptedJudge([OK, FAILED, OK, OK]))
        return stream.getvalue()

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bar = shown(Terminal())
    assert "judge (scripted): 100%" in bar and "4/4" in bar and "failed=1" in bar
    for quiet in (shown(io.StringIO()), (monkeypatch.setenv("TQDM_DISABLE", "1"), shown(Terminal()))[1]):
        assert "100%" not in quiet
        assert quiet.startswith("judged 4 answers in ") and quiet.endswith(" s, 1 without a score\n")
