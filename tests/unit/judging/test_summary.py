"""What is said of the verdicts: no failure hidden, no bare mean, pairs compared as pairs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answered import Winners, pair_rows
from scipy.stats import linregress

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.errors import InputError
from scratchlm.judging.summary import (
    describe,
    length_slope,
    require_coverage,
    score_histogram,
    summarise,
    summarise_by_answer,
    summarise_judge,
)

JUDGE = "ollama:llama3"


def make_rows(
    base: list[float | None],
    assistant: list[float | None],
    judge: str = JUDGE,
    preferred: list[float | None] | None = None,
) -> list[dict[str, Any]]:
    """Rows of entries by their scores; without any of its own, the preferred answer has the assistant's."""
    return [
        {
            "id": identifier,
            "variant": variant,
            "judge": judge,
            "model": "llama3",
            "status": "ok" if score is not None else "parse_error",
            "reason": "" if score is not None else "no number in the answer",
            "score": score,
        }
        for identifier, scores in enumerate(zip(base, assistant, preferred or assistant, strict=True))
        for variant, score in zip(VARIANTS, scores, strict=True)
    ]


def make_entries(n: int, words: list[int] | None = None) -> list[dict[str, Any]]:
    """Entries with references of ten words and, from the assistant, answers of `words`."""
    return [
        {
            "id": identifier,
            "output": "word " * 10,
            "assistant": {"text": "word " * (words[identifier] if words else 10)},
        }
        for identifier in range(n)
    ]


def summary_of(rows: list[dict[str, Any]], probes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return summarise_judge(rows, [], probes or [], make_entries(len(rows) // len(VARIANTS)), seed=123)


def all_pairs(*winners: Winners) -> list[dict[str, Any]]:
    """Rows of base and assistant by their winners, and of assistant and preferred with ties alone."""
    return [*pair_rows(winners), *pair_rows([("tie", "tie")] * len(winners), ("assistant", "preferred"))]


def probe_rows(**scores: float | None) -> list[dict[str, Any]]:
    return [
        {"id": 0, "variant": kind, "judge": JUDGE, "status": "ok", "score": score} for kind, score in scores.items()
    ]


def test_failures_lower_the_coverage_and_not_the_mean() -> None:
    result = summary_of(make_rows([0, 10, None, 50], [100, 100, 100, 80]))
    base = result["base"]
    assert (result["judge"], result["backend"], result["model"]) == ("ollama:llama3", "ollama", "llama3")
    assert (base["n"], base["n_scored"], base["coverage"]) == (4, 3, 0.75)
    assert (base["mean"], base["median"], base["mean_failures_as_zero"]) == (20, 10, 15)
    assert result["assistant"]["mean"] == 95
    assert result["assistant"]["coverage"] == 1


def test_the_difference_pairs_entries_where_both_were_scored() -> None:
    result = summary_of(make_rows([0, 10, None, 50, 30], [100, 10, 100, 40, None]))
    difference = result["difference"]
    assert difference["mean"] == pytest.approx((100 + 0 - 10) / 3)
    assert {key: difference[key] for key in ("wins", "ties", "losses", "n")} == {
        "wins": 1, "ties": 1, "losses": 1, "n": 3
    }  # fmt: skip


def test_each_model_is_compared_with_the_one_that_it_was_tuned_from() -> None:
    result = summary_of(make_rows([0, 0, 0], [40, 50, None], preferred=[10, 50, 90]))
    assert (result["preferred"]["mean"], result["preferred"]["n_scored"]) == (50, 3)
    assert (result["difference"]["mean"], result["preferred_difference"]["mean"]) == (45, -15)
    assert {key: result["preferred_difference"][key] for key in ("wins", "ties", "losses", "n")} == {
        "wins": 0, "ties": 1, "losses": 1, "n": 2
    }  # fmt: skip


def test_the_difference_of_paired_scores_is_surer_than_its_parts() -> None:
    base = [float(score) for score in range(0, 80, 2)]
    difference = summary_of(make_rows(base, [score + 10 for score in base]))["difference"]
    assert difference["ci95_low"] == pytest.approx(10) == difference["ci95_high"]


@pytest.mark.parametrize("scored", [0, 1])
def test_too_few_scores_give_null_and_never_nan(scored: int) -> None:
    scores = [40.0] * scored + [None] * (3 - scored)
    result = summary_of(make_rows(scores, scores))
    json.dumps(result, allow_nan=False)
    for part in (*VARIANTS, "difference", "preferred_difference"):
        assert result[part]["ci95_low"] is None and result[part]["ci95_high"] is None
        assert (result[part]["mean"] is None) == (scored == 0)
    assert result["base"]["mean_failures_as_zero"] == pytest.approx(40 * scored / 3)
    assert result["base"]["n_scored"] == scored


def test_the_console_shows_every_mean_with_its_interval_and_how_many_it_is_of() -> None:
    rows = make_rows([0, 10, None, 50], [100, 90, 100, 80], preferred=[100, 80, 100, 80])
    assert describe(summary_of(rows)).splitlines()[1:] == [
        "                            mean      95 % interval      n   wins   ties losses",
        "  base                     20.00      0.00 to 50.00      3, 1 without a score",
        "  assistant                92.50    85.00 to 100.00      4",
        "  preferred                90.00    80.00 to 100.00      4",
        "  assistant - base         70.00    30.00 to 100.00      3      3      0      0",
        "  preferred - assistant    -2.50      -7.50 to 0.00      4      0      3      1",
    ]
    few = describe(summary_of(make_rows([None, 5], [None, None])))
    assert "  base                      5.00               none      1, 1 without a score\n" in few
    assert "  assistant                 none               none      0, 2 without a score\n" in few


def test_the_console_shows_the_slope_over_length() -> None:
    lengths = make_entries(4, [5, 10, 20, 30])
    text = describe(summarise_judge(make_rows([0] * 4, [90, 70, 60, 50]), [], [], lengths, seed=123))
    assert re.search(r"\n  length slope -\d\d\.\d\d \(95 % interval -.* to -.*\), points per factor of e$", text)


def test_the_known_answers_and_the_new_ones_are_summarised_apart() -> None:
    rows = make_rows([0, 0, 0, 0], [100, 90, 40, None])
    entries = make_entries(4)
    for entry, output in zip(entries, ["known", "new", "new too", "new again"], strict=True):
        entry["output"] = output
    parts = summarise_by_answer(rows, entries, {"known", "never asked"}, seed=123)
    assert {name: (part["mean"], part["n"], part["n_scored"]) for name, part in parts.items()} == {
        "known_answers": (100, 1, 1),
        "new_answers": (65, 3, 2),
    }
    assert list(summarise_by_answer(rows, entries, set(), seed=123)) == ["new_answers"]
    text = describe(summary_of(rows) | parts)
    assert re.search(r"\n  new_answers  +65\.00 +40\.00 to 90\.00 +2, 1 without a score\n", text)


def test_low_coverage_stops_with_counts_by_status_the_commonest_reason_and_the_file() -> None:
    rows = make_rows([50.0] * 5, [50.0] * 2 + [None] * 3, preferred=[50.0] * 5)
    rows[7] |= {"status": "http_error", "reason": "HTTP 400: no"}
    require_coverage(rows, 0.8, Path("data/verdicts.json"))
    with pytest.raises(InputError) as stopped:
        require_coverage(rows, 0.9, Path("data/verdicts.json"))
    message = str(stopped.value)
    assert "the judge ollama:llama3 scored 12 of 15 answers (80.0%)" in message and "wants 90.0%" in message
    assert "3 failed: 1 http_error, 2 parse_error; the commonest reason: no number in the answer. Their" in message
    assert "data/verdicts.json" in message and "judge.judges: [overlap]" in message
    assert "\n" not in message


def test_a_coverage_of_exactly_the_minimum_is_enough() -> None:
    for scored in range(11):
        half: list[float | None] = [50.0] * scored + [None] * (10 - scored)
        require_coverage(make_rows(half, half), scored / 10, Path("data/verdicts.json"))


def test_the_histogram_holds_every_bin_and_every_scored_answer() -> None:
    bins = score_histogram(make_rows([0, 9.99, 10, None], [89.9, 90, 99, 100], preferred=[None, None, None, 50]))
    assert [row["score"] for row in bins] == list(range(0, 100, 10))
    assert [row["base"] for row in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [row["assistant"] for row in bins] == [0, 0, 0, 0, 0, 0, 0, 0, 1, 3]
    assert [row["preferred"] for row in bins] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("loves", [0.0, 12.5, -4.0])
def test_the_slope_is_in_points_per_factor_of_e_in_length(loves: float) -> None:
    words = [2, 5, 10, 20, 40, 7]
    scores: list[float | None] = [50 + loves * math.log(count / 10) for count in words]
    found = length_slope(make_rows([0] * 6, scores), make_entries(6, words), seed=123)
    assert found["n"] == 6
    for key in ("slope", "ci95_low", "ci95_high"):
        assert found[key] == pytest.approx(loves, abs=1e-9)


def test_the_slopes_interval_is_the_one_of_least_squares() -> None:
    generator = np.random.default_rng(7)
    words = generator.integers(2, 60, size=300).tolist()
    ratios = np.log(np.array(words) / 10)
    scores = 50 + 6 * ratios + generator.normal(0, 10, size=300)
    found = length_slope(make_rows([0] * 300, scores.tolist()), make_entries(300, words), seed=123)
    expected = linregress(ratios, scores)
    assert found["slope"] == pytest.approx(expected.slope)
    assert found["ci95_low"] == pytest.approx(expected.slope - 1.96 * expected.stderr, abs=0.2)
    assert found["ci95_high"] == pytest.approx(expected.slope + 1.96 * expected.stderr, abs=0.2)


def test_only_scored_answers_with_words_and_of_the_assistant_enter_the_slope() -> None:
    rows = make_rows([100, 0, 100, 0], [10, 20, None, 40])
    found = length_slope(rows, make_entries(4, [5, 10, 20, 0]), seed=123)
    assert found["n"] == 2
    assert found["slope"] == pytest.approx(10 / math.log(2))


def test_equal_lengths_have_no_slope() -> None:
    nothing = {"slope": None, "ci95_low": None, "ci95_high": None}
    assert length_slope(make_rows([0] * 3, [1, 2, 3]), make_entries(3), seed=123) == nothing | {"n": 3}
    assert length_slope(make_rows([0], [None]), make_entries(1), seed=123) == nothing | {"n": 0}


def test_the_first_judge_is_flat_and_the_others_stand_below_it() -> None:
    rows = make_rows([0, 10], [100, 80])
    other_rows = make_rows([0, 20], [90, None], "overlap")
    alone = summarise({JUDGE: rows}, {}, {}, make_entries(2), seed=123)
    assert alone == summary_of(rows)
    assert not alone.keys() & {"others", "agreement", "probes"}
    probes = {"overlap": probe_rows(reference=100.0)}
    both = summarise({JUDGE: rows, "overlap": other_rows}, {}, probes, make_entries(2), seed=123)
    assert alone.items() <= both.items()
    assert both["others"].keys() == {"overlap"}
    assert both["others"]["overlap"]["assistant"]["n_scored"] == 1
    assert both["others"]["overlap"]["probes"]["reference"] == 100
    assert both["agreement"] == {
        "ollama:llama3 ~ overlap": {"spearman": 1.0, "mean_absolute_difference": pytest.approx(7.5), "n": 4}
    }


def test_the_console_names_every_judge_its_probes_and_their_agreement() -> None:
    rows, other_rows = make_rows([0, 10], [100, 80]), make_rows([0, 20], [90, None], "overlap")
    probes = {JUDGE: probe_rows(reference=90.0, shuffled=40.0, echo=None)}
    text = describe(summarise({JUDGE: rows, "overlap": other_rows}, {}, probes, make_entries(2), seed=123))
    assert "judged by ollama:llama3 (llama3)" in text and "judged by overlap (llama3)" in text
    assert "  probes: reference 90.0, shuffled 40.0, echo -, padding -, injection -, AUC 1.00" in text
    assert "\nwarning: ollama:llama3 cannot be trusted" in text
    assert "ollama:llama3 ~ overlap: Spearman 1.00, mean absolute difference 7.5, 4 answers that both scored" in text


def test_pairs_stand_below_the_judge_that_compared_them_and_in_the_console() -> None:
    rows, win = make_rows([0, 10, 20], [100, 80, 20]), ("assistant", "assistant")
    pairs = {JUDGE: all_pairs(win, win, ("base", "assistant"))}
    found = summarise({"overlap": rows, JUDGE: rows}, pairs, {}, make_entries(3), seed=123)
    assert not {"pairwise", "preferred_pairwise"} & found.keys()
    assert found["others"][JUDGE]["pairwise"]["wins"] == 2
    assert found["others"][JUDGE]["preferred_pairwise"]["ties"] == 3
    text = describe(found)
    assert "  assistant win rate, %    83.33    50.00 to 100.00      3      2      1      0\n" in text
    assert "  preferred win rate, %    50.00     50.00 to 50.00      3      0      3      0\n" in text
    assert "  base and assistant: 3 of 3 pairs judged, 33.3 % decided by order\n" in text
    assert "  assistant and preferred: 3 of 3 pairs judged, 0.0 % decided by order" in text
    assert "warning" not in text


def test_pairs_without_a_verdict_are_counted_in_the_console() -> None:
    text = describe(summarise_judge(make_rows([0], [1]), all_pairs(("tie", None)), [], make_entries(1), seed=123))
    assert "  assistant win rate, %     none               none      0      0      0      0\n" in text
    assert "  base and assistant: 0 of 1 pairs judged\n" in text


def test_the_coverage_of_pairs_is_told_as_theirs() -> None:
    rows = pair_rows([("tie", None), (None, None)], judge=JUDGE)
    with pytest.raises(InputError, match=r"scored 1 of 4 comparisons \(25\.0%\).* are in data/pairwise\.json"):
        require_coverage(rows, 0.5, Path("data/pairwise.json"), "comparisons")


def test_the_console_fits_80_columns() -> None:
    n = 5200
    rows = make_rows([0.0] * n, [100.0] * n, preferred=[0.0] * n)
    wins = [
        *pair_rows([("base", "base")] * n),
        *pair_rows([("preferred", "preferred")] * n, ("assistant", "preferred")),
    ]
    lines = describe(summarise_judge(rows, wins, [], make_entries(n), seed=123)).splitlines()
    assert "-100.00 to -100.00" in lines[7] and max(map(len, lines)) <= 80
