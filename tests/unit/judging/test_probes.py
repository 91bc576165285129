"""Probes: what is made of an entry, and what the judge's scores of them say together."""

from __future__ import annotations

import doctest
import random
from typing import Any

import pytest
from probed import ENTRIES, Judge, by_kind, probe_rows
from sklearn.metrics import roc_auc_score

from scratchlm.judging import probes as module
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.probes import KINDS, PADDING, ProbeItem, auc, probe_items, summarise_probes
from scratchlm.judging.verdicts import Verdict


def judged(judge: Judge) -> dict[str, Any]:
    return summarise_probes(probe_rows(judge))


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
        {"id": 0, "variant": "reference", "status": "parse_error", "score": None},
        {"id": 0, "variant": "padding", "status": "ok", "score": 100.0},
        {"id": 1, "variant": "reference", "status": "ok", "score": 80.0},
        {"id": 1, "variant": "padding", "status": "ok", "score": 70.0},
    ]
    found = summarise_probes(rows)
    assert (found["n"], found["n_scored"], found["reference"], found["padding"]) == (4, 3, 80, 85)
    assert (found["padding_gain"], found["shuffled"], found["auc"]) == (-10, None, None)


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
    assert max(found["shuffled"], found["echo"], found["injection"], found["padding_gain"]) == 0


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted >= 1 and failed == 0
