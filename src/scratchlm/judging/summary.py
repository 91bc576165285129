"""What the verdicts say together: means with their uncertainty, the paired difference, how far to trust a judge."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import VARIANTS, AnsweredEntry, Variant
from scratchlm.errors import InputError
from scratchlm.files.text import one_line
from scratchlm.judging.client import MAX_ERROR_CHARS, WAY_OUT
from scratchlm.judging.comparison import agreement, compare_scores
from scratchlm.judging.pairwise import ORDER_DECIDED_AT_MOST, summarise_pairs
from scratchlm.judging.probes import KINDS, summarise_probes, warnings
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import mean_of, resamples

Rows = Sequence[Row]  # of one judge

BIN_WIDTH = 10
WORD = re.compile(r"\w+")


def summarise(
    verdicts: Mapping[str, Rows],
    pairs: Mapping[str, Rows],
    probes: Mapping[str, Rows],
    entries: Sequence[AnsweredEntry],
    seed: int,
) -> dict[str, Any]:
    """Turn all judges' rows into the metrics: the first judge's at the top, further ones' below `others`.

    `verdicts`, `pairs` and `probes` hold each judge's rows by its name; without pairs or probes there are none in the
    metrics. Where there are several judges, `agreement` compares every two of them.
    """
    first, *others = (
        summarise_judge(rows, pairs.get(name, ()), probes.get(name, ()), entries, seed)
        for name, rows in verdicts.items()
    )
    if not others:
        return first
    agreed = {f"{one} ~ {other}": agreement(verdicts[one], verdicts[other]) for one, other in combinations(verdicts, 2)}
    return first | {"others": {part["judge"]: part for part in others}, "agreement": agreed}


def summarise_judge(
    rows: Rows, pairs: Rows, probes: Rows, entries: Sequence[AnsweredEntry], seed: int
) -> dict[str, Any]:
    """Turn one judge's rows into its metrics: each variant, assistant minus base, slope over length, pairs, probes.

    `difference` pairs the entries of which both answers were scored; wins, ties and losses are the
    assistant's. Intervals are 95 % percentile bootstraps; where fewer than two scores leave nothing to
    resample they are None, as is the mean of no scores.
    """
    name = rows[0]["judge"]
    base, assistant = ({row["id"]: row["score"] for row in rows if row["variant"] == variant} for variant in VARIANTS)
    return {
        "judge": name,
        "backend": name.partition(":")[0],
        "model": rows[0]["model"],
        **{variant: summarise_variant(rows, variant, seed) for variant in VARIANTS},
        "difference": compare_scores(name, base, assistant, seed).as_metrics(),
        "length_slope": length_slope(rows, entries, seed),
        **({"pairwise": summarise_pairs(pairs, seed)} if pairs else {}),
        **({"probes": summarise_probes(probes)} if probes else {}),
    }


def summarise_variant(rows: Rows, variant: Variant, seed: int) -> dict[str, Any]:
    """Mean, interval, median and coverage of one variant's answers; coverage is a fraction, scores 0-100."""
    scores, n = _scores(rows, variant), sum(row["variant"] == variant for row in rows)
    return mean_of(scores, seed).as_metrics() | {
        "median": float(np.median(scores)) if scores.size else None,
        "n": n,
        "n_scored": int(scores.size),
        "coverage": scores.size / n,
        "mean_failures_as_zero": float(scores.sum() / n),
    }


def length_slope(rows: Rows, entries: Sequence[AnsweredEntry], seed: int) -> dict[str, float | int | None]:
    """The slope of the assistant's scores over the log of their length, by least squares.

    `slope` is in points per factor of e, the length in words of the answer over words of the reference; `n` counts
    the scored answers with a word in them. Longer answers may be better or worse, so a slope accuses nobody by itself:
    one far above another judge's on the same answers is a love of length. None where all lengths are the same.
    """
    scored = {row["id"]: row["score"] for row in rows if row["variant"] == "assistant" and row["score"] is not None}
    points = []
    for entry in entries:
        words, reference_words = (len(WORD.findall(text)) for text in (entry["assistant"]["text"], entry["output"]))
        if entry["id"] in scored and words and reference_words:
            points.append((math.log(words / reference_words), scored[entry["id"]]))
    if len({ratio for ratio, _ in points}) < 2:
        return {"slope": None, "ci95_low": None, "ci95_high": None, "n": len(points)}
    ratios, scores = np.array(points, dtype=np.float64).T  # both (n,)
    (slope,) = _slopes(ratios[None], scores[None])
    resampled = np.concatenate([_slopes(ratios[index], scores[index]) for index in resamples(len(points), seed)])
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"slope": float(slope), "ci95_low": float(low), "ci95_high": float(high), "n": len(points)}


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least-squares slope of each row of `y` over that of `x`, both (m, n); rows of equal x are left out."""
    varied = x.max(axis=1) > x.min(axis=1)
    x, y = x[varied], y[varied]
    centred = x - x.mean(axis=1, keepdims=True)
    slopes: np.ndarray = (centred * y).sum(axis=1) / (centred * centred).sum(axis=1)  # (m',)
    return slopes


def describe(summary: dict[str, Any]) -> str:
    """The summary as lines for the console, no mean without its interval and how many scores it is of."""
    lines = [line for part in (summary, *summary.get("others", {}).values()) for line in _describe_judge(part)]
    for pair, figures in summary.get("agreement", {}).items():
        if figures["n"]:
            rank = "undefined" if figures["spearman"] is None else f"{figures['spearman']:.2f}"
            difference = f"mean absolute difference {figures['mean_absolute_difference']:.1f}"
            lines.append(f"{pair}: Spearman {rank}, {difference}, {figures['n']} answers that both scored")
    return "\n".join(lines)


def _describe_judge(summary: dict[str, Any]) -> Iterator[str]:
    difference, slope = summary["difference"], summary["length_slope"]
    pairs, probes = summary.get("pairwise"), summary.get("probes")
    yield f"judged by {summary['judge']} ({summary['model']}), 0 to 100"
    for variant in VARIANTS:
        part = summary[variant]
        yield f"  {variant:10} {_figures(part, 'mean')}, {part['n_scored']} of {part['n']} answers scored"
    yield (
        f"  difference {_figures(difference, 'mean')}, assistant wins {difference['wins']}, "
        f"ties {difference['ties']}, loses {difference['losses']} of {difference['n']}"
    )
    if slope["slope"] is not None:
        yield f"  length     {_figures(slope, 'slope')}, points per factor of e in length, {slope['n']} answers"
    if pairs is not None:
        yield (
            f"  win rate   {_figures(pairs, 'win_rate')}, assistant wins {pairs['wins']}, ties {pairs['ties']}, "
            f"loses {pairs['losses']} of {pairs['n']} pairs"
        )
    if pairs is not None and pairs["n_judged"]:
        yield f"  order      decided {pairs['order_decided']:.1f} % of {pairs['n_judged']} pairs judged in both orders"
        if pairs["order_decided"] > ORDER_DECIDED_AT_MOST:
            yield f"  warning: {summary['judge']}: the order of two answers decides more pairs than the answers do"
    if probes is not None:
        shown = ", ".join(f"{kind} {'-' if probes[kind] is None else format(probes[kind], '.1f')}" for kind in KINDS)
        yield f"  probes     {shown}" + ("" if probes["auc"] is None else f", AUC {probes['auc']:.2f}")
        for line in warnings(probes):
            yield f"  warning: {summary['judge']}: {line}"


def _figures(part: dict[str, Any], name: str) -> str:
    if part[name] is None:
        return "   none scored"
    if part["ci95_low"] is None:
        return f"{part[name]:7.2f}  (no interval from one score)"
    return f"{part[name]:7.2f}  (95 % interval {part['ci95_low']:.2f} to {part['ci95_high']:.2f})"


def require_coverage(rows: Rows, min_coverage: float, verdicts_path: Path, what: str = "answers") -> None:
    """Stop where a smaller fraction of the rows than `min_coverage` has a score; `what` names what they are of.

    `rows` are one judge's. Raises InputError that counts the failures by status, gives their commonest reason
    and names the file that keeps the raw answers.
    """
    failed = [row for row in rows if row["score"] is None]
    n_scored = len(rows) - len(failed)
    coverage = n_scored / len(rows)
    if coverage >= min_coverage:
        return
    statuses = Counter(row["status"] for row in failed)
    [(reason, _)] = Counter(row["reason"] for row in failed).most_common(1)
    raise InputError(
        f"the judge {rows[0]['judge']} scored {n_scored} of {len(rows)} {what} ({coverage:.1%}), "
        f"judge.min_coverage wants {min_coverage:.1%}; {len(failed)} failed: "
        f"{', '.join(f'{count} {status}' for status, count in sorted(statuses.items()))}; "
        f"the commonest reason: {one_line(reason, MAX_ERROR_CHARS)}. Their raw answers and reasons are in "
        f"{verdicts_path}. See what the judge's server says and run again (only what has no answer is asked again), "
        f"name another model in judge.judges, {WAY_OUT}"
    )


def score_histogram(rows: Rows) -> list[dict[str, int]]:
    """Count each variant's scored answers in ten bins, each by the `score` where it begins; 100 is in the last one."""
    edges = range(0, 101, BIN_WIDTH)
    base, assistant = (np.histogram(_scores(rows, variant), edges)[0].tolist() for variant in VARIANTS)
    return [{"score": edges[n], "base": base[n], "assistant": assistant[n]} for n in range(len(base))]


def _scores(rows: Rows, variant: Variant) -> np.ndarray:
    """The scores of the variant's scored answers, (n_scored,)."""
    scores = [row["score"] for row in rows if row["variant"] == variant and row["score"] is not None]
    return np.array(scores, dtype=np.float64)
