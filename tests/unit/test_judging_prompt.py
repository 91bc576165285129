"""The book's judge prompt, word for word, and its answers read without guessing."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.instructions import Entry, format_task
from scratchlm.judging import book_prompt
from scratchlm.judging.book_prompt import parse, render


@pytest.mark.parametrize(("input", "given"), [("red", "\n\n### Input:\nred"), ("", "")])
def test_the_prompt_is_the_books_word_for_word(input: str, given: str) -> None:
    task = format_task(Entry(instruction="Name a fruit.", input=input, output="An apple."), "alpaca")
    assert render(task, "An apple.", "A cherry.") == (
        "Given the input `Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
        f"\n\n### Instruction:\nName a fruit.{given}` "
        "and correct output `An apple.`, score the model response `A cherry.` on a scale "
        "from 0 to 100, where 100 is the best score. Respond with the integer number only."
    )


def test_what_stands_in_the_answer_is_not_taken_for_the_template() -> None:
    hostile = "$output ${prompt} {output} $$ 100% `"
    assert f"score the model response `{hostile}` on" in render("task", "reference", hostile)


@given(st.integers(0, 100))
def test_every_score_is_read_with_and_without_words_around_it(score: int) -> None:
    for said in (
        f"{score}",
        f" {score}\n",
        f'"{score}"',
        f"{score}.",
        f"{score}.0",
        f"{score}/100",
        f"{score} / 100",
        f"{score} out of 100",
        f"**Score:** {score}",
        f'{{"score": "{score}"}}',
        f"I would give {score}; yes, {score}.",
        f"On a scale from 0 to 100: {score}",
    ):
        assert parse(said) == ("ok", score, ""), said


@pytest.mark.parametrize("said", ["150", "-5", "101", "Score: 850/100", "1" + "0" * 30])
def test_a_score_off_the_scale_is_out_of_range(said: str) -> None:
    reading = parse(said)
    assert (reading.status, reading.score) == ("out_of_range", None)
    assert "is not from 0 to 100" in reading.reason


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Excellent!",
        "between 80 and 90",
        "80-90",
        "85/1000",
        "2 of 3 facts: 60",
        "0 to 100",
        "72.5",
        "1e2",
    ],
)
def test_an_unclear_score_is_a_parse_error_and_never_a_guess(said: str) -> None:
    reading = parse(said)
    assert (reading.status, reading.score) == ("parse_error", None)
    assert reading.reason


@given(st.text())
def test_no_answer_makes_the_parser_raise(said: str) -> None:
    reading = parse(said)
    assert (reading.score is None) == (reading.status != "ok")


def test_the_examples_in_the_docstring_hold() -> None:
    failed, attempted = doctest.testmod(book_prompt)
    assert attempted >= 6 and failed == 0
