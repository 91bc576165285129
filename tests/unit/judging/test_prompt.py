"""Judge prompts as files with parsers; the book's word for word, and its answers read without guessing."""

from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratchlm.judging import prompt as module
from scratchlm.judging.prompt import PromptName, load_prompt
from scratchlm.judging.prompt import parse_score as parse


@pytest.mark.parametrize(("input", "given"), [("red", "\n\n### Input:\nred"), ("", "")])
def test_the_prompt_is_the_books_word_for_word(input: str, given: str) -> None:
    entry = {"id": 3, "instruction": "Name a fruit.", "input": input, "output": "An apple."}
    assert load_prompt("book").render(entry, "A cherry.") == (
        "Given the input `Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
        f"\n\n### Instruction:\nName a fruit.{given}` "
        "and correct output `An apple.`, score the model response `A cherry.` on a scale "
        "from 0 to 100, where 100 is the best score. Respond with the integer number only."
    )


@pytest.mark.parametrize("name", ["book", "rubric"])
def test_what_stands_in_the_answer_is_not_taken_for_the_template(name: PromptName) -> None:
    hostile = "$output ${prompt} $reference {output} $$ 100% `"
    entry = {"instruction": "$response", "input": "$code", "output": "$input"}
    prompt = load_prompt(name).render(entry, hostile)
    for text in (hostile, *entry.values()):
        assert text in prompt
    assert prompt.count(hostile) == 1


@pytest.mark.parametrize("name", ["book", "rubric"])
def test_a_prompt_reads_what_it_asks_for(name: PromptName) -> None:
    prompt = load_prompt(name)
    assert prompt.name == name
    said = "100" if prompt.schema is None else '{"reason": "Right.", "level": 5}'
    assert prompt.parse(said, False).score == prompt.parse(said, True).score == 100


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


@given(st.text() | st.text(st.sampled_from("0123456789+-./ outf\u0663")))
@example("1" * 5000)
def test_no_answer_makes_the_parser_raise_and_no_score_is_made_up(said: str) -> None:
    reading = parse(said)
    assert (reading.score is None) == (reading.status != "ok")
    if reading.score is not None:
        assert reading.score in range(101) and reading.score in map(float, re.findall(r"\d+", said))


@given(st.lists(st.integers(0, 100), min_size=2, max_size=4, unique=True), st.sampled_from([" ", ", ", " and ", "\n"]))
def test_of_several_numbers_none_is_taken(numbers: list[int], between: str) -> None:
    assert parse(between.join(map(str, numbers))).status == "parse_error"


def test_the_examples_in_the_docstring_hold() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 6 and failed == 0
