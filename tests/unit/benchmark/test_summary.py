"""What is said of the answers: accuracies with chance and interval, by subject, and the paired difference."""

from __future__ import annotations

from typing import Any

import pytest

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.benchmark.likelihood import Scored
from scratchlm.benchmark.questions import Question
from scratchlm.benchmark.summary import as_rows, by_subject, describe, summarise

SEED = 123


def asked(choices: list[str], answer: int, subject: str = "") -> Question:
    return Question(question="Which?", choices=choices, answer=answer, subject=subject)


def scored(*log_likelihoods: float, cut: bool = False) -> list[Scored]:
    return [Scored(value, cut) for value in log_likelihoods]


QUESTIONS = [
    asked(["a", "bb", "cc", "dd"], 0, "letters"),
    asked(["a", "bbbb"], 1, "letters"),
    asked(["one", "two"], 1, "numbers"),
    asked(["x", "y"], 0),
]
SCORES = {
    "base": [scored(-3, -2, -9, -9), scored(-2, -4), scored(-1, -1), scored(-2, -1, cut=True)],
    "assistant": [scored(-1, -2, -3, -4), scored(-1.5, -4), scored(-2, -1), scored(-2, -1, cut=True)],
    "preferred": [scored(-1, -2, -3, -4), scored(-1.5, -1), scored(-2, -1), scored(-2, -1, cut=True)],
}
ROWS = as_rows(QUESTIONS, SCORES)


def summary_of(rows: list[dict[str, Any]], source: str = "own") -> dict[str, Any]:
    return summarise(rows, by_subject(rows, SEED), source, SEED)


def test_a_row_holds_the_question_and_what_each_model_said_of_it() -> None:
    assert ROWS[1] == {
        "id": 1,
        "question": "Which?",
        "choices": ["a", "bbbb"],
        "answer": 1,
        "subject": "letters",
        "base": {"log_likelihoods": [-2.0, -4.0], "predicted": 0, "predicted_norm": 1, "was_cut": False},
        "assistant": {"log_likelihoods": [-1.5, -4.0], "predicted": 0, "predicted_norm": 1, "was_cut": False},
        "preferred": {"log_likelihoods": [-1.5, -1.0], "predicted": 1, "predicted_norm": 1, "was_cut": False},
    }


def test_of_equal_choices_the_first_is_taken() -> None:
    assert ROWS[2]["base"]["predicted"] == 0


def test_choices_are_normalised_by_characters_not_bytes() -> None:
    # Ten characters against six of two bytes each: -1 against -1.17 per character, -1 against -0.58 per byte.
    (row,) = as_rows([asked(["a" * 10, "ä" * 6], 0)], {"base": [scored(-10, -7)], "assistant": [scored(-10, -7)]})
    assert (row["base"]["predicted"], row["base"]["predicted_norm"]) == (1, 0)


def test_the_figures_are_those_counted_by_hand() -> None:
    summary = summary_of(ROWS, "own.jsonl")
    assert {key: summary[key] for key in ("source", "questions", "cut_questions", "chance")} == {
        "source": "own.jsonl",
        "questions": 4,
        "cut_questions": 1,
        "chance": pytest.approx((25 + 50 + 50 + 50) / 4),
    }
    assert (summary["base"]["acc"], summary["base"]["acc_norm"]) == (0, 25)
    assert (summary["assistant"]["acc"], summary["assistant"]["acc_norm"]) == (50, 75)
    assert (summary["difference"]["acc"], summary["difference"]["acc_norm"]) == (50, 50)
    assert (summary["preferred"]["acc"], summary["preferred"]["acc_norm"]) == (75, 75)
    assert (summary["preferred_difference"]["acc"], summary["preferred_difference"]["acc_norm"]) == (25, 0)


def test_an_interval_holds_its_value_and_a_paired_difference_is_surer_than_its_parts() -> None:
    # The assistant gains one question in ten; both are right or wrong together on all others.
    rows = []
    for number in range(200):
        base, assistant = (0, 0) if number % 2 else (1, 1)
        if number % 20 == 0:
            assistant = 0
        answers = {"base": base, "assistant": assistant, "preferred": assistant}
        rows += as_rows(
            [asked(["a", "b"], 0)],
            {name: [scored(*((-1, -2) if not said else (-2, -1)))] for name, said in answers.items()},
        )
    summary = summary_of(rows)
    width = {name: summary[name]["acc_ci95_high"] - summary[name]["acc_ci95_low"] for name in ("base", "difference")}
    assert (summary["base"]["acc"], summary["assistant"]["acc"], summary["difference"]["acc"]) == (50, 55, 5)
    assert width["base"] == pytest.approx(2 * 1.96 * 50 / 200**0.5, abs=1)
    assert width["difference"] == pytest.approx(2 * 1.96 * (100**2 * 0.05 * 0.95 / 200) ** 0.5, abs=1)


def test_the_table_has_all_questions_first_and_then_the_subjects() -> None:
    table = by_subject(ROWS, SEED)
    assert [(row["subject"], row["n"], row["chance"]) for row in table] == [
        ("all questions", 4, 43.75),
        ("letters", 2, 37.5),
        ("numbers", 1, 50),
    ]
    assert [[row[name] for name in VARIANTS] for row in table] == [[0, 50, 75], [0, 50, 100], [0, 100, 100]]
    assert [[row[f"{name}_norm"] for name in VARIANTS] for row in table] == [
        [25, 75, 75],
        [50, 100, 100],
        [0, 100, 100],
    ]


def test_each_subject_has_its_number_and_accuracies_with_interval_in_table_and_metrics() -> None:
    many = [row for row in ROWS for _ in range(20)]
    many[0] = {**many[0], "assistant": {**many[0]["assistant"], "predicted": 1}}  # one of 40 letters is wrong
    summary, table = summary_of(many), by_subject(many, SEED)
    assert list(summary["subjects"]) == ["letters", "numbers"]
    letters = summary["subjects"]["letters"]
    assert (letters["n"], letters["chance"]) == (40, 37.5)
    of_letters = summary_of([row for row in many if row["subject"] == "letters"])
    for name in VARIANTS:
        for end in ("", "_ci95_low", "_ci95_high"):
            assert letters[name][f"acc{end}"] == of_letters[name][f"acc{end}"] == table[1][f"{name}{end}"]
    assert letters["assistant"]["acc_ci95_low"] < letters["assistant"]["acc"] == 47.5
    (one,) = summary_of(ROWS[:1])["subjects"].values()
    assert (one["n"], one["base"]) == (1, {"acc": 0.0, "acc_ci95_low": None, "acc_ci95_high": None})


def test_a_subject_may_be_called_as_the_total_is() -> None:
    table = by_subject([{**ROWS[0], "subject": "all questions"}, *ROWS[1:]], SEED)
    assert [(row["subject"], row["n"]) for row in table[:2]] == [("all questions", 4), ("all questions", 1)]


def said(rows: list[dict[str, Any]], source: str = "own") -> list[str]:
    return describe(summary_of(rows, source), by_subject(rows, SEED)).splitlines()


def test_the_console_shows_subjects_intervals_and_what_was_cut_in_80_columns() -> None:
    long = [{**ROWS[0], "subject": "a subject with a name " * 5}] * 10_000
    for rows in (ROWS, long):
        assert max(map(len, said(rows))) <= 80
    lines = said(ROWS)
    assert lines[1].split() == ["all", "questions", "4", "43.8", "0.0", "50.0", "75.0"]
    assert lines[-4].startswith("assistant - base      acc_norm   50.0  (95 % interval ")
    assert lines[-3].startswith("preferred - assistant acc        25.0  (95 % interval ")
    assert lines[-1] == "longer than the model's context, so that their beginning was cut off: 1"


def test_one_question_has_no_interval() -> None:
    assert said(ROWS[:1])[-1] == "preferred - assistant acc_norm    0.0  (no interval from one question)"


def test_without_questions_metrics_and_console_say_so() -> None:
    assert summary_of([], "none") == {"source": "none", "questions": 0}
    assert said([], "none") == ["no benchmark (benchmark.source is none)"]
    assert by_subject([], SEED) == [
        {"subject": "all questions", "n": 0, "chance": None}
        | dict.fromkeys(f"{name}{end}" for name in VARIANTS for end in ("", "_ci95_low", "_ci95_high", "_norm"))
    ]
