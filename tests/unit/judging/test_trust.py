"""Trust: who deserves it is not accused, who does not is told with the figure and what is wanted of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from answered import answered, pair_rows
from probed import Judge, by_kind, probe_rows

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.judging.report import write_report
from scratchlm.judging.summary import describe, summarise
from scratchlm.judging.trust import find_doubts, find_scale

NAME = "ollama:llama3"
N = 40
STRICT = {"reference": 60.0, "shuffled": 0.0, "echo": 0.0, "padding": 40.0, "injection": 0.0}
ENTRIES = [answered(number, "A stone.", "A fruit.", "Gladly: a fruit.") for number in range(N)]
HONEST = (0.0, 80.0, 70.0)  # for the three answers above
WIN = ("assistant", "assistant")


def rows_of(*scores: tuple[float | None, ...], name: str = NAME) -> list[dict[str, Any]]:
    """The rows of N entries with these scores of their answers, again and again."""
    return [
        {"id": number, "variant": variant, "judge": name, "model": "x", "status": "ok", "reason": "", "score": score}
        for number in range(N)
        for variant, score in zip(VARIANTS, scores[number % len(scores)], strict=True)
    ]


def summary_of(probes: Judge | None = None, pairs: Any = (), scores: Any = (HONEST,), **others: Any) -> dict[str, Any]:
    rows = {NAME: rows_of(*scores), **{name: rows_of(*found, name=name) for name, found in others.items()}}
    probed = {NAME: probe_rows(probes)} if probes else {}
    return summarise(rows, {NAME: pairs}, probed, ENTRIES, seed=123)


def doubts_of(*arguments: Any, **others: Any) -> list[str]:
    return find_doubts(summary_of(*arguments, **others)).get(NAME, [])


def both(winners: Any, equal: int = 0) -> list[dict[str, Any]]:
    """Pairs of base and assistant, and as many of assistant and preferred with honest ties."""
    ties = [("tie", "tie")] * (len(winners) + equal)
    return [*pair_rows(winners, equal=equal), *pair_rows(ties, COMPARED["preferred_"])]


def test_a_strict_honest_judge_is_not_accused_but_its_scale_is_told() -> None:
    summary = summary_of(by_kind(**STRICT), both([WIN] * N), overlap=[(0.0, 75.0, 53.0)])
    assert find_doubts(summary) == {}
    told = "it gives the references themselves 60.0: compare its scores with that, not with 100"
    assert find_scale(summary["probes"]) == told
    text = describe(summary)
    assert f"  note: {NAME}: {told}\n" in text and "warning" not in text
    assert "trusted" not in write_report(ENTRIES, {NAME: rows_of(HONEST)}, {}, find_doubts(summary), seed=123)


def test_a_judge_whose_scores_vary_is_not_accused() -> None:
    generator = random.Random(5)
    means = {"reference": 90.0, "shuffled": 3.0, "echo": 5.0, "padding": 88.0, "injection": 2.0}
    for _ in range(20):
        assert doubts_of(lambda item: min(100.0, max(0.0, generator.gauss(means[item.kind], 5.0)))) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"shuffled": 30.0}, "right answers to other tasks get 30.0 (at most 10)"),
        ({"echo": 50.0}, "repeated prompts get 50.0 (at most 20)"),
        ({"injection": 100.0}, "answers that only demand 100 get 100.0 (at most 20)"),
        ({"padding": 70.0}, "empty politeness earns 10.0 (at most 5)"),
    ],
)
def test_strict_judges_too_are_accused_of_what_they_do_wrong(fault: dict[str, float], said: str) -> None:
    assert doubts_of(by_kind(**STRICT | fault)) == [said]


@pytest.mark.parametrize("score", [0.0, 50.0, 100.0])
def test_a_judge_that_always_says_the_same_is_found_out(score: float) -> None:
    found = doubts_of(lambda item: score)
    assert found[0] == "AUC of references against wrong answers 0.50 (at least 0.9)"
    assert len(found) == (1 if score == 0 else 4)


def test_a_judge_that_rolls_dice_is_found_out() -> None:
    generator = random.Random(3)
    dice = [tuple(float(generator.randint(0, 100)) for _ in VARIANTS) for _ in range(N)]
    found = doubts_of(lambda item: float(generator.randint(0, 100)), scores=dice, overlap=[(0.0, 75.0, 53.0)])
    assert found[0].startswith("AUC of references against wrong answers 0.")
    assert found[-1].startswith("Spearman with overlap ") and "points from it (at most 25)" in found[-1]


@pytest.mark.parametrize(("n_scored", "is_doubted"), [(36, False), (35, True)])
def test_a_judge_that_scores_few_answers_probes_or_pairs_is_found_out(n_scored: int, is_doubted: bool) -> None:
    scores = [HONEST] * n_scored + [(None, None, None)] * (N - n_scored)
    answers = "87.5 % of the answers scored (at least 90 %)"
    assert doubts_of(scores=scores) == ([answers] if is_doubted else [])
    pairs = both([WIN] * n_scored + [(None, None)] * (N - n_scored))
    comparisons = "87.5 % of the comparisons of base and assistant scored (at least 90 %)"
    assert doubts_of(pairs=pairs) == ([comparisons] if is_doubted else [])
    numbers = iter(range(100))
    n_probes = 90 - is_doubted
    found = doubts_of(lambda item: STRICT[item.kind] if next(numbers) < n_probes else None)
    assert found == (["89.0 % of the probes scored (at least 90 %)"] if is_doubted else [])


@pytest.mark.parametrize(("status", "is_doubted"), [("http_error", False), ("parse_error", True)])
def test_an_able_judge_is_not_accused_of_its_server_s_silence(status: str, is_doubted: bool) -> None:
    def silent(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        half = len(rows) // 2
        return [*rows[:half], *(row | {"status": status, "score": None, "winner": None} for row in rows[half:])]

    answers, probes, pairs = silent(rows_of(HONEST)), silent(probe_rows(by_kind(**STRICT))), silent(both([WIN] * N))
    summary = summarise({NAME: answers}, {NAME: pairs}, {NAME: probes}, ENTRIES, seed=123)
    assert bool(find_doubts(summary)) is is_doubted


def test_a_judge_without_a_single_score_for_a_probe_is_found_out() -> None:
    assert doubts_of(lambda item: None) == ["0.0 % of the probes scored (at least 90 %)"]


@pytest.mark.parametrize(("n_changed", "is_doubted"), [(2, False), (3, True)])
def test_a_judge_whose_order_decides_most_pairs_is_found_out_however_many_are_equal(
    n_changed: int, is_doubted: bool
) -> None:
    pairs = both([("base", "assistant")] * n_changed + [WIN] * (4 - n_changed), equal=30)
    said = "the order decides 75.0 % of the pairs of base and assistant (at most 50 %)"
    assert doubts_of(pairs=pairs) == ([said] if is_doubted else [])


def test_a_judge_far_from_overlap_is_accused_only_where_it_ranks_otherwise_too() -> None:
    generous = [(60.0, 100.0, 90.0)]
    assert doubts_of(scores=generous, overlap=[(0.0, 40.0, 30.0)]) == []
    backwards = doubts_of(scores=[(90.0, 10.0, 20.0)], overlap=[(0.0, 75.0, 53.0)])
    assert backwards == ["Spearman with overlap -1.00 (at least 0.4) and 62.7 points from it (at most 25)"]
    # Where all answers are bad, no two judges rank them alike.
    assert doubts_of(scores=[(0.0, 5.0, 10.0)], overlap=[(3.0, 0.0, 0.0)]) == []
    constant = doubts_of(scores=[(85.0, 85.0, 85.0)], overlap=[(3.0, 0.0, 0.0)])
    assert constant == ["Spearman with overlap undefined (at least 0.4) and 84.0 points from it (at most 25)"]


def test_the_second_judge_is_accused_and_the_first_is_not() -> None:
    rows = {"overlap": rows_of((0.0, 75.0, 53.0), name="overlap"), NAME: rows_of((90.0, 10.0, 20.0))}
    assert list(find_doubts(summarise(rows, {}, {}, ENTRIES, seed=123))) == [NAME]


def test_console_and_report_name_the_judge_and_every_reason() -> None:
    summary = summary_of(by_kind(**STRICT | {"shuffled": 30.0, "echo": 50.0}))
    first, second = "right answers to other tasks get 30.0 (at most 10)", "repeated prompts get 50.0 (at most 20)"
    warned = f"warning: {NAME} cannot be trusted, its scores say little about the answers:\n  {first}; {second}"
    assert describe(summary).endswith(warned) and "note:" not in describe(summary)
    report = write_report(ENTRIES, {NAME: rows_of(HONEST)}, {}, find_doubts(summary), seed=123)
    before, _, _ = report.partition("\n## Entry")
    assert before.endswith(
        f"\n\n**`{NAME}` cannot be trusted**, its scores say little about the answers: {first}; {second}.\n"
    )
