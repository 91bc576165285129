"""What is said of the verdicts: no failure hidden, no bare mean, pairs compared as pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scratchlm.errors import InputError
from scratchlm.judging import summary
from scratchlm.judging.summary import (
    bootstrap_mean_interval,
    describe,
    require_coverage,
    score_histogram,
    summarise,
)


def make_rows(base: list[float | None], assistant: list[float | None]) -> list[dict[str, Any]]:
    return [
        {
            "id": identifier,
            "variant": variant,
            "judge": "ollama",
            "model": "llama3",
            "status": "ok" if score is not None else "parse_error",
            "score": score,
        }
        for identifier, pair in enumerate(zip(base, assistant, strict=True))
        for variant, score in zip(("base", "assistant"), pair, strict=True)
    ]


def test_failures_lower_the_coverage_and_not_the_mean() -> None:
    result = summarise(make_rows([0, 10, None, 50], [100, 100, 100, 80]), seed=123)
    base = result["base"]
    assert (result["backend"], result["model"]) == ("ollama", "llama3")
    assert (base["n"], base["n_scored"], base["coverage"]) == (4, 3, 0.75)
    assert (base["mean"], base["median"], base["mean_failures_as_zero"]) == (20, 10, 15)
    assert result["assistant"]["mean"] == 95
    assert result["assistant"]["coverage"] == 1


def test_the_difference_pairs_entries_where_both_were_scored() -> None:
    result = summarise(make_rows([0, 10, None, 50, 30], [100, 10, 100, 40, None]), seed=123)
    difference = result["difference"]
    assert difference["mean"] == pytest.approx((100 + 0 - 10) / 3)
    assert {key: difference[key] for key in ("wins", "ties", "losses", "n")} == {
        "wins": 1, "ties": 1, "losses": 1, "n": 3
    }  # fmt: skip


def test_the_difference_of_paired_scores_is_surer_than_its_parts() -> None:
    base = [float(score) for score in range(0, 80, 2)]
    difference = summarise(make_rows(base, [score + 10 for score in base]), seed=123)["difference"]
    assert difference["ci95_low"] == pytest.approx(10) == difference["ci95_high"]


def test_the_interval_is_the_one_of_the_central_limit() -> None:
    scores = np.random.default_rng(7).normal(50, 20, size=400)
    low, high = bootstrap_mean_interval(scores, seed=123)
    half_width = 1.96 * scores.std() / np.sqrt(scores.size)
    assert low == pytest.approx(scores.mean() - half_width, abs=0.1)
    assert high == pytest.approx(scores.mean() + half_width, abs=0.1)


def test_the_seed_decides_the_interval_and_the_batches_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([0.0, 10.0, 35.0, 70.0, 100.0, 100.0, 20.0])
    first = bootstrap_mean_interval(scores, seed=123)
    assert first == bootstrap_mean_interval(scores, seed=123)
    # A lumpy mean's percentiles coincide for most seeds, not for all.
    assert {bootstrap_mean_interval(scores, seed=seed) for seed in range(20)} != {first}
    monkeypatch.setattr(summary, "RESAMPLES_AT_ONCE", summary.RESAMPLES)
    assert first == bootstrap_mean_interval(scores, seed=123)


@pytest.mark.parametrize("scored", [0, 1])
def test_too_few_scores_give_null_and_never_nan(scored: int) -> None:
    scores = [40.0] * scored + [None] * (3 - scored)
    result = summarise(make_rows(scores, scores), seed=123)
    json.dumps(result, allow_nan=False)
    for part in ("base", "assistant", "difference"):
        assert result[part]["ci95_low"] is None and result[part]["ci95_high"] is None
        assert (result[part]["mean"] is None) == (scored == 0)
    assert result["base"]["mean_failures_as_zero"] == pytest.approx(40 * scored / 3)
    assert result["base"]["n_scored"] == scored


def test_the_console_shows_no_bare_mean() -> None:
    text = describe(summarise(make_rows([0, 10, None, 50], [100, 90, 100, 80]), seed=123))
    for line, mean in zip(text.splitlines()[1:], ("20.00", "92.50", "70.00"), strict=True):
        assert mean in line and "95 % interval" in line
    assert "3 of 4 answers scored" in text
    assert "assistant wins 3, ties 0, loses 0 of 3" in text
    few = describe(summarise(make_rows([None, 5], [None, None]), seed=123))
    assert "none scored" in few and "no interval from one score" in few


def test_low_coverage_stops_with_counts_by_status_and_the_file() -> None:
    rows = make_rows([50.0] * 5, [50.0] * 3 + [None, None])
    rows[-1]["status"] = "http_error"
    require_coverage(rows, 0.8, Path("data/verdicts.json"))
    with pytest.raises(InputError) as stopped:
        require_coverage(rows, 0.9, Path("data/verdicts.json"))
    message = str(stopped.value)
    assert "8 of 10 answers (80.0%)" in message and "wants 90.0%" in message
    assert "2 failed: 1 http_error, 1 parse_error" in message
    assert "data/verdicts.json" in message and "judge.backend: overlap" in message
    assert "\n" not in message


def test_a_coverage_of_exactly_the_minimum_is_enough() -> None:
    for scored in range(11):
        half: list[float | None] = [50.0] * scored + [None] * (10 - scored)
        require_coverage(make_rows(half, half), scored / 10, Path("data/verdicts.json"))


def test_the_histogram_holds_every_bin_and_every_scored_answer() -> None:
    bins = score_histogram(make_rows([0, 9.99, 10, None], [89.9, 90, 99, 100]))
    assert [row["score"] for row in bins] == list(range(0, 100, 10))
    assert [row["base"] for row in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [row["assistant"] for row in bins] == [0, 0, 0, 0, 0, 0, 0, 0, 1, 3]
