"""The embedded scorer: honest at both ends, true to its formula, and as good on real answers as claimed."""

from __future__ import annotations

import doctest
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlap import CHOSEN, SCORERS, agreements
from sacrebleu.metrics import CHRF
from scipy.stats import pearsonr, spearmanr

from scratchlm.judging import overlap
from scratchlm.judging.overlap import OverlapJudge, missing_numbers, token_f1
from scratchlm.judging.verdicts import Verdict

TEXT = st.text(st.sampled_from("abcDE 12.,ü\n"), max_size=40)
WRITTEN = TEXT.filter(str.strip)

CAR = {
    "instruction": "Rewrite the sentence using a simile.",
    "input": "The car is very fast.",
    "output": "The car is as fast as lightning.",
}


def read_entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


@given(TEXT, TEXT, TEXT, TEXT)
def test_the_figures_are_sacrebleus_for_every_text_by_itself(
    instruction: str, input: str, output: str, response: str
) -> None:
    metric = CHRF(word_order=2)

    def chrf(text: str) -> float:
        return float(metric.sentence_score(text, [output]).score)

    found = overlap.score(instruction, input, output, response)
    assert found.chrf == chrf(response)
    assert found.prompt_chrf == max(map(chrf, (instruction, input, f"{instruction}\n{input}")))


@given(TEXT, TEXT, WRITTEN)
def test_the_reference_scores_100_whatever_the_prompt(instruction: str, input: str, output: str) -> None:
    assert overlap.score(instruction, input, output, output).score == 100


@given(TEXT, TEXT, WRITTEN)
def test_repeating_the_prompt_or_a_part_of_it_scores_0(instruction: str, input: str, output: str) -> None:
    for echo in (instruction, input, f"{instruction}\n{input}", f"{instruction} {input}"):
        result = overlap.score(instruction, input, output, echo)
        # Where the prompt holds the whole reference, repeating it is the right answer.
        assert result.score == (100 if result.chrf == 100 and not result.missing_numbers else 0)


@given(TEXT, TEXT, TEXT, TEXT)
def test_every_score_is_from_0_to_100(instruction: str, input: str, output: str, response: str) -> None:
    result = overlap.score(instruction, input, output, response)
    for figure in (result.score, result.chrf, result.prompt_chrf, result.token_f1):
        assert 0 <= figure <= 100


def test_the_score_is_chrf_corrected_by_the_best_part_of_the_prompt() -> None:
    def chrf(text: str) -> float:
        return float(CHRF(word_order=2).sentence_score(text, [CAR["output"]]).score)

    response = "The car is as fast as a bullet."
    result = overlap.score(**CAR, response=response)
    floor = chrf(CAR["input"])
    assert floor > chrf(f"{CAR['instruction']}\n{CAR['input']}") > chrf(CAR["instruction"]) > 0
    assert result.chrf == pytest.approx(chrf(response))
    assert result.prompt_chrf == pytest.approx(floor)
    assert result.score == pytest.approx(100 * (chrf(response) - floor) / (100 - floor))
    assert 0 < result.score < result.chrf


def test_an_answer_below_the_prompt_scores_0_not_less() -> None:
    assert overlap.score(**CAR, response="Zebras!").score == 0


def test_both_parts_together_may_give_more_than_either() -> None:
    task = {"instruction": "Join: the red cat", "input": "sat on the mat", "output": "the red cat sat on the mat"}
    result = overlap.score(**task, response=f"{task['instruction']}\n{task['input']}")
    assert result.score == 0
    assert result.prompt_chrf > max(
        overlap.chrf_plus_plus(task[part], task["output"]) for part in ("instruction", "input")
    )


@pytest.mark.parametrize("marks", ['""', "''", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "«»"])
def test_one_quotation_mark_is_as_good_as_another(marks: str) -> None:
    task = {"instruction": "Find the verb.", "input": "Birds fly.", "output": "The verb is 'fly'. It's short."}
    assert overlap.score(**task, response=f"The verb is {marks[0]}fly{marks[1]}. It\u2019s short.").score == 100


def test_case_counts() -> None:
    assert overlap.score(**CAR, response=CAR["output"].upper()).score < 50


def test_a_missing_new_number_scores_0() -> None:
    task = {"instruction": "Add 6 and 8.", "input": "", "output": "The sum of 6 and 8 is 14."}
    wrong = overlap.score(**task, response="The sum of 6 and 8 is 15.")
    assert (wrong.score, wrong.missing_numbers) == (0, ("14",))
    assert wrong.chrf > 70
    assert overlap.score(**task, response="The sum is 14.").score > 0


def test_a_number_of_the_prompt_may_be_left_out() -> None:
    task = {
        "instruction": "Which is larger, 6 or 8? Explain.",
        "input": "",
        "output": "8 is larger than 6, yes.",
    }
    assert overlap.score(**task, response="8 is larger, yes.").score > 0


@pytest.mark.parametrize(
    ("prompt", "output", "response", "missing"),
    [
        ("", "3.14", "3.1", ("3.14",)),
        ("", "3.14.", "about 3.14", ()),
        ("", "1,000 m", "1000 m", ()),
        ("", "1,000.50 m", "1000.5 m", ()),
        ("", "The number is 2.", "2.0", ()),
        ("", "2", "0.2", ("2",)),
        ("", "1,2345", "12345", ("1", "2345")),
        ("", "3,5,11", "3, 5, 11", ()),
        ("", "2.0 and 2", "", ("2.0", "2")),
        ("", "2 and 2 and 3", "", ("2", "3")),
        ("in 1912", "1912", "", ()),
        ("", "no number", "7", ()),
    ],
)
def test_numbers_are_compared_by_value(prompt: str, output: str, response: str, missing: tuple[str, ...]) -> None:
    assert missing_numbers(prompt, output, response) == missing


def test_where_the_prompt_holds_the_reference_only_the_reference_scores() -> None:
    task = {"instruction": "Correct it if need be.", "input": "She sings well.", "output": "She sings well."}
    assert overlap.score(**task, response="She sings well.").score == 100
    assert overlap.score(**task, response="She sings good.").score == 0


def test_token_f1_counts_words_as_a_bag() -> None:
    assert token_f1("b a", "A, b!") == 100
    assert token_f1("a a a a", "a b") == pytest.approx(100 * 2 * 1 / 6)
    assert token_f1("", "a") == token_f1("a", "") == token_f1("", "") == 0


def test_the_signature_names_the_settings_and_the_version() -> None:
    import sacrebleu

    signature = overlap.signature()
    assert signature.startswith("overlap|")
    for part in ("nrefs:1", "case:mixed", "nc:6", "nw:2", f"version:{sacrebleu.__version__}"):
        assert part in signature.split("|")


def test_the_judge_says_why_it_gave_nothing() -> None:
    entry = {"instruction": "Add 6 and 8.", "input": "", "output": "14"}

    def judged(response: str) -> Verdict:
        verdict = Verdict("base", entry, response)
        OverlapJudge().judge(verdict)
        return verdict

    empty = judged(" \n")
    assert (empty.status, empty.score, empty.columns["chrf"]) == ("empty", 0, 0)
    wrong = judged("15")
    assert (wrong.status, wrong.score, wrong.reason) == ("ok", 0, "lacks the reference's 14")
    right = judged("14\n")
    assert (right.status, right.score, right.reason, right.columns["exact_match"]) == ("ok", 100, "", True)


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(overlap)
    assert attempted >= 2 and failed == 0


@pytest.mark.mirror
def test_it_agrees_with_gpt_4_on_100_real_answers_as_well_as_claimed(mirror: Path) -> None:
    answers = read_entries(mirror / "judged-answers.json")
    scores = [overlap.score(one["instruction"], one["input"], one["output"], one["response"]) for one in answers]
    gpt_4 = [one["gpt4_score"] for one in answers]
    corrected, raw = [one.score for one in scores], [one.chrf for one in scores]
    llama = [one["llama3_8b_score"] for one in answers]
    assert len(answers) == 100
    assert pearsonr(corrected, gpt_4).statistic == pytest.approx(0.882, abs=0.001)
    assert spearmanr(corrected, gpt_4).statistic == pytest.approx(0.910, abs=0.001)
    for other in (raw, llama):
        assert pearsonr(other, gpt_4).statistic < 0.81
        assert spearmanr(other, gpt_4).statistic < 0.87


@pytest.mark.mirror
def test_it_agrees_as_well_on_the_half_of_the_answers_that_it_was_not_chosen_on(mirror: Path) -> None:
    answers = read_entries(mirror / "judged-answers.json")
    scores = [SCORERS["overlap"](one, one["response"]) for one in answers]
    figures = agreements(scores, [one["gpt4_score"] for one in answers])
    assert len(CHOSEN) == 50
    for name, (pearson, spearman) in figures.items():
        assert pearson >= 0.85, name
        assert spearman >= (0.88 if name == "chosen" else 0.90), name
    held_out = [index for index in range(100) if index not in CHOSEN]
    ours, gpt_4 = ([column[index] for index in held_out] for column in (scores, [one["gpt4_score"] for one in answers]))
    assert figures["held out"] == pytest.approx((pearsonr(ours, gpt_4).statistic, spearmanr(ours, gpt_4).statistic))


@pytest.mark.mirror
def test_it_separates_references_real_answers_and_nonsense_on_110_real_entries(mirror: Path) -> None:
    entries = read_entries(mirror / "instruction-data-with-response.json")

    def mean(responses: list[str]) -> float:
        pairs = zip(entries, responses, strict=True)
        scores = [overlap.score(one["instruction"], one["input"], one["output"], text).score for one, text in pairs]
        return sum(scores) / len(scores)

    references = [one["output"] for one in entries]
    assert len(entries) == 110
    assert mean(references) == 100
    assert mean([one["model_response"] for one in entries]) == pytest.approx(32.4, abs=0.05)
    assert mean(random.Random(123).sample(references, len(references))) < 5
    assert mean([one["input"] or one["instruction"] for one in entries]) == 0
    assert mean([one["instruction"] for one in entries]) == 0
    assert mean([f"{one['instruction']}\n{one['input']}" for one in entries]) == 0
    assert mean([""] * len(entries)) == 0
