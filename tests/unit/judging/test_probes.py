"""Probes: what is made of an entry, and that they accuse who deserves it and nobody else."""

from __future__ import annotations

import doctest
import random
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from scratchlm.judging import probes as module
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.probes import KINDS, PADDING, ProbeItem, auc, probe_items, summarise_probes, warnings
from scratchlm.judging.verdicts import Verdict

ENTRIES = [
    {
        "id": index,
        "instruction": f"What is the capital of land {index}?",
        "input": f"map {index}",
        "output": f"{chr(65 + index)}town has been its seat of government since {1500 + index}.",
    }
    for index in range(26)
]
Judge = Callable[[ProbeItem], float | None]


def judged(judge: Judge, n: int = 20) -> dict[str, Any]:
    return summarise_probes(
        [{"id": item.entry["id"], "variant": item.kind, "score": judge(item)} for item in probe_items(ENTRIES, n, 123)]
    )


def by_kind(**scores: float | None) -> Judge:
    return lambda item: scores[item.kind]


def test_twenty_entries_give_five_probes_each_and_the_seed_chooses_them() -> None:
    items = probe_items(ENTRIES, 20, seed=123)
    assert [item.kind for item in items] == [*KINDS] * 20
    assert items == probe_items(ENTRIES, 20, seed=123) != probe_items(ENTRIES, 20, seed=124)
    assert len({item.entry["id"] for item in items}) == 20
    assert probe_items(ENTRIES, 0, seed=123) == []
    assert len(probe_items(ENTRIES, 1000, seed=123)) == 5 * len(ENTRIES)


def test_a_probe_is_what_its_kind_says() -> None:
    outputs = {entry["output"] for entry in ENTRIES}
    for kind, entry, response in probe_items(ENTRIES, 20, seed=123):
        if kind == "reference":
            assert response == entry["output"]
        elif kind == "shuffled":
            assert response in outputs - {entry["output"]}
        elif kind == "echo":
            assert response == f"{entry['instruction']}\n{entry['input']}"
        elif kind == "padding":
            assert response.startswith(entry["output"]) and response.endswith(PADDING)
        else:
            assert "highest score" in response and entry["output"] not in response


def test_a_reference_that_may_answer_the_other_task_too_is_not_called_wrong() -> None:
    pets = [
        {"id": n, "instruction": f"Pet {n}?", "input": "", "output": f"The pet is called Rex {n}."} for n in range(9)
    ]
    other = {"id": 9, "instruction": "Half of 10?", "input": "", "output": "Five."}
    wrong = {item.entry["id"]: item.response for item in probe_items([*pets, other], 10, 1) if item.kind == "shuffled"}
    assert all(wrong[pet["id"]] == "Five." for pet in pets)
    # Where there is no better one, the one with the fewest words in common.
    wrong = {item.entry["id"]: item.response for item in probe_items(pets, 9, 1) if item.kind == "shuffled"}
    assert all(wrong[pet["id"]] != pet["output"] for pet in pets)


def test_what_cannot_be_probed_is_left_out() -> None:
    same = [{"id": n, "instruction": f"Say {n}.", "input": "", "output": "Yes."} for n in range(3)]
    assert "shuffled" not in {item.kind for item in probe_items(same, 3, 1)}
    given = [{"id": 0, "instruction": "Grain or fruit?", "input": "Wheat", "output": "grain"}]
    assert "echo" not in {item.kind for item in probe_items(given, 1, 1)}


def test_the_summary_holds_means_gain_and_auc() -> None:
    found = judged(by_kind(reference=90.0, shuffled=5.0, echo=10.0, padding=92.0, injection=0.0))
    assert found == {
        "n": 100, "n_scored": 100, "reference": 90.0, "shuffled": 5.0, "echo": 10.0, "padding": 92.0,
        "injection": 0.0, "padding_gain": 2.0, "auc": 1.0,
    }  # fmt: skip


def test_a_failed_probe_is_counted_and_its_padding_compared_with_nothing() -> None:
    rows = [
        {"id": 0, "variant": "reference", "score": None},
        {"id": 0, "variant": "padding", "score": 100.0},
        {"id": 1, "variant": "reference", "score": 80.0},
        {"id": 1, "variant": "padding", "score": 70.0},
    ]
    found = summarise_probes(rows)
    assert (found["n"], found["n_scored"], found["reference"], found["padding"]) == (4, 3, 80, 85)
    assert (found["padding_gain"], found["shuffled"], found["auc"]) == (-10, None, None)
    assert warnings(found)[0] == "only 3 of 4 probes got a score"


def test_the_auc_is_scikit_learns() -> None:
    generator = random.Random(7)
    right = [float(generator.randint(0, 5)) for _ in range(20)]
    wrong = [float(generator.randint(0, 4)) for _ in range(17)]
    expected = roc_auc_score([1] * 20 + [0] * 17, right + wrong)
    assert auc(right, wrong) == pytest.approx(expected)
    assert auc([1, 1], [1]) == 0.5


def test_the_embedded_scorer_passes() -> None:
    def score(item: ProbeItem) -> float | None:
        verdict = Verdict(*item)
        OverlapJudge().judge(verdict)
        return verdict.score

    found = judged(score)
    assert found["reference"] == 100 and found["auc"] == 1
    assert warnings(found) == []


STRICT = {"reference": 60.0, "shuffled": 0.0, "echo": 0.0, "padding": 40.0, "injection": 0.0}


def test_a_strict_honest_judge_is_not_accused_but_its_scale_is_told() -> None:
    (line,) = warnings(judged(by_kind(**STRICT)))
    assert line == "it gives the references themselves 60.0: compare its scores with that, not with 100"


def test_a_judge_whose_scores_vary_is_not_accused() -> None:
    generator = random.Random(5)
    means = {"reference": 90.0, "shuffled": 3.0, "echo": 5.0, "padding": 88.0, "injection": 2.0}
    for _ in range(20):
        found = judged(lambda item: min(100.0, max(0.0, generator.gauss(means[item.kind], 5.0))))
        assert len(warnings(found)) == 1 and "compare its scores" in warnings(found)[0]


def test_strict_judges_too_are_accused_of_what_they_do_wrong() -> None:
    faults = {
        "gives right answers to other tasks 30.0": {"shuffled": 30.0},
        "gives the prompt repeated 50.0": {"echo": 50.0},
        "gives an answer that only demands 100 100.0": {"injection": 100.0},
        "gives 10.0 points more to the same answer with empty politeness": {"padding": 70.0},
    }
    for said, fault in faults.items():
        lines = warnings(judged(by_kind(**STRICT | fault)))
        assert len(lines) == 2 and said in lines[0]


@pytest.mark.parametrize("score", [0.0, 50.0, 100.0])
def test_a_judge_that_always_says_the_same_is_found_out(score: float) -> None:
    lines = warnings(judged(lambda item: score))
    assert lines[0] == "it hardly tells right from wrong: AUC of references against wrong answers 0.50"


def test_a_judge_that_rolls_dice_is_found_out() -> None:
    generator = random.Random(3)
    lines = warnings(judged(lambda item: float(generator.randint(0, 100))))
    assert "hardly tells right from wrong" in lines[0]


def test_a_judge_without_a_single_score_is_warned_of_in_one_line() -> None:
    assert warnings(judged(lambda item: None)) == ["only 0 of 100 probes got a score"]


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 1 and failed == 0
