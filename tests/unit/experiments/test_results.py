"""Differences to the baseline: item by item where there are items, seed by seed where there are seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from scratchlm.experiments.results import Figure, Finished, Scores, compare_runs
from scratchlm.judging.comparison import Judged


def finished(
    accuracy: float, hits: Sequence[bool] = (), text: str = "message", scores: Scores | None = None
) -> Finished:
    return Finished({"test": accuracy}, {(i, text): 100.0 * hit for i, hit in enumerate(hits)}, scores)


def judged(scores: Sequence[float], output: str = "yes") -> Judged:
    entries = [{"id": i, "instruction": "Answer.", "input": "", "output": output} for i in range(len(scores))]
    rows: Any = [
        {"id": i, "variant": variant, "judge": "overlap", "score": score + gain}
        for i, score in enumerate(scores)
        for variant, gain in (("base", -5.0), ("assistant", 0.0), ("preferred", float(i)))
    ]
    return Judged("revision", entries, rows)


def overlap(scores: Sequence[float], output: str = "yes") -> Scores:
    return Scores(judged(scores, output), "overlap", "assistant")


def test_messages_are_paired() -> None:
    first = finished(50.0, [True, True, False, False] * 10)
    same, _ = compare_runs("test", [first], [first])
    assert same == Figure(0.0, low=0.0, high=0.0)
    better, remark = compare_runs("test", [first], [finished(75.0, [True, True, True, False] * 10)])
    assert better is not None and better.low is not None and better.high is not None
    assert (better.value, remark) == (25.0, "")
    # Paired, 10 of 40 messages differ: 25 ± about 1.96 * sqrt(0.25 * 0.75 / 40); unpaired it would be wider.
    assert better.low == pytest.approx(12.5, abs=2.6) and better.high == pytest.approx(37.5, abs=2.6)


def test_other_messages_have_no_interval() -> None:
    first, second = finished(50.0, [True, False]), finished(100.0, [True, True], "another message")
    assert compare_runs("test", [first], [second]) == (
        Figure(50.0),
        "no interval: other test messages than the baseline's",
    )


def test_scores_are_paired_and_other_entries_have_no_interval() -> None:
    first = finished(20.0, scores=overlap([10.0, 20.0, 30.0]))
    figure, remark = compare_runs("test", [first], [finished(27.0, scores=overlap([17.0, 27.0, 37.0]))])
    assert (figure, remark) == (Figure(7.0, low=7.0, high=7.0), "")
    figure, remark = compare_runs("test", [first], [finished(27.0, scores=overlap([17.0, 27.0, 37.0], "no"))])
    assert figure == Figure(7.0) and remark.startswith("no interval: ") and "different instructions" in remark


def test_the_metric_names_the_model_whose_scores_are_paired() -> None:
    both = (judged([10.0, 10.0, 10.0]), judged([10.0, 12.0, 14.0]))
    first, second = (finished(0.0, scores=Scores(each, "overlap", "preferred")) for each in both)
    figure, _ = compare_runs("test", [first], [second])
    assert figure is not None and (figure.low, figure.high) != (0.0, 0.0)


def scored(by: dict[str, list[float | None]], first_judge: str) -> Finished:
    """A run that several judges have scored, whose metric is the mean of the first judge's scores."""
    n = len(by[first_judge])
    entries = [{"id": i, "instruction": "Answer.", "input": "", "output": "yes"} for i in range(n)]
    rows: Any = [
        {"id": i, "variant": "assistant", "judge": judge, "score": score}
        for judge, scores in by.items()
        for i, score in enumerate(scores)
    ]
    known = [score for score in by[first_judge] if score is not None]
    return finished(sum(known) / len(known), scores=Scores(Judged("revision", entries, rows), first_judge, "assistant"))


def test_a_difference_lies_in_its_interval_where_entries_lack_a_score() -> None:
    # The means of what each has are 50 and 16: without pairing, a difference of -34 beside an interval around 6.
    first = scored({"overlap": [10.0, 10.0, 10.0, 85.0, 135.0]}, "overlap")
    second = scored({"overlap": [15.0, 16.0, 17.0, None, None]}, "overlap")
    figure, remark = compare_runs("test", [first], [second])
    assert figure is not None and figure.low is not None and figure.high is not None
    assert figure.value == pytest.approx(6.0) and figure.low <= figure.value <= figure.high
    assert remark == "difference of the 3 entries with a score in both"


def test_a_difference_is_of_the_judge_whose_mean_is_shown() -> None:
    # The other judge stands first in the file.
    first = scored({"llama": [0.0, 0.0, 0.0], "overlap": [10.0, 20.0, 30.0]}, "overlap")
    second = scored({"llama": [90.0, 90.0, 90.0], "overlap": [11.0, 21.0, 31.0]}, "overlap")
    assert compare_runs("test", [first], [second]) == (Figure(1.0, low=1.0, high=1.0), "")
    swapped = scored({"llama": [90.0, 90.0, 90.0], "overlap": [11.0, 21.0, 31.0]}, "llama")
    assert compare_runs("test", [first], [swapped]) == (
        None,
        "no difference: its score is llama's, the baseline's is overlap's",
    )


def test_without_items_the_difference_has_no_interval() -> None:
    assert compare_runs("test", [finished(50.0)], [finished(51.5)]) == (Figure(1.5), "")


def test_seeds_are_compared_seed_by_seed() -> None:
    figure, _ = compare_runs("test", [finished(50.0), finished(70.0)], [finished(53.0), finished(75.0)])
    assert figure is not None and figure.deviation is not None
    assert (figure.value, figure.deviation) == pytest.approx((4.0, 2**0.5))
    assert figure.low is figure.high is None


@pytest.mark.parametrize("baseline", [[], [finished(50.0)]])
def test_a_baseline_that_is_not_complete_gives_no_difference(baseline: list[Finished]) -> None:
    assert compare_runs("test", baseline, [finished(53.0), finished(75.0)]) == (None, "")
    assert compare_runs("other", baseline[:1] or [finished(1.0)], [finished(53.0)]) == (None, "")
