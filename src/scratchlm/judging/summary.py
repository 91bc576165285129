"""What the verdicts say together: means with their uncertainty, the paired difference, the distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scratchlm.errors import InputError
from scratchlm.judging.verdicts import VARIANTS, Row

RESAMPLES = 10_000
RESAMPLES_AT_ONCE = 500  # 5,000 answers then take 20 MB, not 400
BIN_WIDTH = 10


def summarise(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Turn one judge's rows into its metrics: each variant, and assistant minus base.

    `difference` pairs the entries of which both answers were scored; wins, ties and losses are the
    assistant's. Intervals are 95 % percentile bootstraps; where fewer than two scores leave nothing to
    resample they are None, as is the mean of no scores.
    """
    summary: dict[str, Any] = {"backend": rows[0]["judge"], "model": rows[0]["model"]}
    for variant in VARIANTS:
        summary[variant] = summarise_variant([row for row in rows if row["variant"] == variant], seed)
    return summary | {"difference": summarise_difference(rows, seed)}


def summarise_variant(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Mean, interval, median and coverage of one variant's answers; coverage is a fraction, scores 0-100."""
    scores = np.array([row["score"] for row in rows if row["score"] is not None], dtype=np.float64)  # (n_scored,)
    low, high = bootstrap_mean_interval(scores, seed)
    return {
        "mean": float(scores.mean()) if scores.size else None,
        "ci95_low": low,
        "ci95_high": high,
        "median": float(np.median(scores)) if scores.size else None,
        "n": len(rows),
        "n_scored": int(scores.size),
        "coverage": scores.size / len(rows),
        "mean_failures_as_zero": float(scores.sum() / len(rows)),
    }


def summarise_difference(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The assistant's score minus the base model's on the entries where both have one."""
    scored = {(row["id"], row["variant"]): row["score"] for row in rows if row["score"] is not None}
    differences = np.array(
        [
            score - scored[identifier, "base"]
            for (identifier, variant), score in scored.items()
            if variant == "assistant" and (identifier, "base") in scored
        ],
        dtype=np.float64,
    )  # (pairs,)
    low, high = bootstrap_mean_interval(differences, seed)
    return {
        "mean": float(differences.mean()) if differences.size else None,
        "ci95_low": low,
        "ci95_high": high,
        "wins": int((differences > 0).sum()),
        "ties": int((differences == 0).sum()),
        "losses": int((differences < 0).sum()),
        "n": int(differences.size),
    }


def bootstrap_mean_interval(scores: np.ndarray, seed: int) -> tuple[float, float] | tuple[None, None]:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979), from 10,000 seeded resamples.

    `scores` has shape (n,); fewer than two give (None, None).
    """
    if scores.size < 2:
        return None, None
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            scores[generator.integers(scores.size, size=(RESAMPLES_AT_ONCE, scores.size))].mean(axis=1)
            for _ in range(RESAMPLES // RESAMPLES_AT_ONCE)
        ]
    )  # (RESAMPLES,)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def describe(summary: dict[str, Any]) -> str:
    """The summary as lines for the console, no mean without its interval and how many scores it is of."""

    def figures(part: dict[str, Any]) -> str:
        if part["mean"] is None:
            return "   none scored"
        if part["ci95_low"] is None:
            return f"{part['mean']:7.2f}  (no interval from one score)"
        return f"{part['mean']:7.2f}  (95 % interval {part['ci95_low']:.2f} to {part['ci95_high']:.2f})"

    difference = summary["difference"]
    lines = [f"judged by {summary['backend']} ({summary['model']}), 0 to 100"]
    for variant in VARIANTS:
        part = summary[variant]
        lines.append(f"  {variant:10} {figures(part)}, {part['n_scored']} of {part['n']} answers scored")
    lines.append(
        f"  difference {figures(difference)}, assistant wins {difference['wins']}, "
        f"ties {difference['ties']}, loses {difference['losses']} of {difference['n']}"
    )
    return "\n".join(lines)


def require_coverage(rows: Sequence[Row], min_coverage: float, verdicts_path: Path) -> None:
    """Stop where a smaller fraction of the answers than `min_coverage` has a score.

    Raises InputError that counts the failures by status and names the file that keeps the raw answers.
    """
    failures = Counter(row["status"] for row in rows if row["score"] is None)
    n_scored = len(rows) - failures.total()
    coverage = n_scored / len(rows)
    if coverage >= min_coverage:
        return
    counts = ", ".join(f"{count} {status}" for status, count in sorted(failures.items()))
    raise InputError(
        f"the judge scored {n_scored} of {len(rows)} answers ({coverage:.1%}), "
        f"judge.min_coverage wants {min_coverage:.1%}; {failures.total()} failed: {counts}. "
        f"Their raw answers and reasons are in {verdicts_path}. See what the judge's server says and run "
        f"`dvc repro` once more, try another judge.model, or set `judge.backend: overlap`, which needs no server"
    )


def score_histogram(rows: Sequence[Row]) -> list[dict[str, int]]:
    """Count each variant's scored answers in ten bins of scores, every bin present.

    Columns: `score`, where the bin of ten begins (100 belongs to the last one), and a count per variant.
    """
    counts = Counter(
        (min(int(row["score"] // BIN_WIDTH) * BIN_WIDTH, 100 - BIN_WIDTH), row["variant"])
        for row in rows
        if row["score"] is not None
    )
    return [
        {"score": start, **{variant: counts[start, variant] for variant in VARIANTS}}
        for start in range(0, 100, BIN_WIDTH)
    ]
