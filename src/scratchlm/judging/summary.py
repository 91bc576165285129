"""What the verdicts say together: means with their uncertainty, the paired difference, how far to trust a judge."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import COMPARED, VARIANTS, AnsweredEntry, Variant
from scratchlm.errors import InputError
from scratchlm.files.text import one_line
from scratchlm.judging.client import MAX_ERROR_CHARS, WAY_OUT
from scratchlm.judging.comparison import agreement, compare_scores
from scratchlm.judging.pairwise import summarise_pairs
from scratchlm.judging.probes import KINDS, summarise_probes
from scratchlm.judging.prompt import UNANSWERED
from scratchlm.judging.trust import find_doubts, find_scale
from scratchlm.judging.verdicts import Row
from scratchlm.stage.mean import mean_of, resamples

Rows = Sequence[Row]  # of one judge

BIN_WIDTH = 10
NAME_COLUMNS = 21  # of the console's table, which has 79
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
    """Turn one judge's rows into its metrics: each variant, those of COMPARED, slope over length, pairs, probes.

    `difference` is assistant minus base, `preferred_difference` preferred minus assistant. Each pairs the entries of
    which both answers were scored; wins, ties and losses are those of the first-named. Intervals are 95 % percentile
    bootstraps; where fewer than two scores leave nothing to resample they are None, as is the mean of no scores.
    """
    name = rows[0]["judge"]
    scores = {variant: {row["id"]: row["score"] for row in rows if row["variant"] == variant} for variant in VARIANTS}
    return {
        "judge": name,
        "backend": name.partition(":")[0],
        "model": rows[0]["model"],
        **{variant: summarise_variant(rows, variant, seed) for variant in VARIANTS},
        **{
            f"{prefix}difference": compare_scores(name, two, scores[one], scores[two], seed).as_metrics()
            for prefix, (one, two) in COMPARED.items()
        },
        "length_slope": length_slope(rows, entries, seed),
        **{f"{prefix}pairwise": summarise_pairs(pairs, pair, seed) for prefix, pair in COMPARED.items() if pairs},
        **({"probes": summarise_probes(probes)} if probes else {}),
    }


def summarise_variant(rows: Rows, variant: Variant, seed: int) -> dict[str, Any]:
    """Mean, interval, median and coverage of one variant's answers; coverage is a fraction, scores 0-100.

    `n_unanswered` is there where the judge's server gave no answer to some.
    """
    scores, n = _scores(rows, variant), sum(row["variant"] == variant for row in rows)
    n_unanswered = sum(row["variant"] == variant and row["status"] == UNANSWERED for row in rows)
    return mean_of(scores, seed).as_metrics() | {
        "median": float(np.median(scores)) if scores.size else None,
        "n": n,
        "n_scored": int(scores.size),
        "coverage": scores.size / n,
        "mean_failures_as_zero": float(scores.sum() / n),
        **({"n_unanswered": n_unanswered} if n_unanswered else {}),
    }


def summarise_by_answer(
    rows: Rows, entries: Sequence[AnsweredEntry], known: Set[str], seed: int
) -> dict[str, dict[str, Any]]:
    """The assistant's metrics apart: where the reference is among the `known` answers of training, and where not.

    A known answer can be remembered from training. A part without entries is left out.
    """
    outputs = {entry["id"]: entry["output"] for entry in entries}
    parts = {
        "known_answers": [row for row in rows if outputs[row["id"]] in known],
        "new_answers": [row for row in rows if outputs[row["id"]] not in known],
    }
    return {name: summarise_variant(part, "assistant", seed) for name, part in parts.items() if part}


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
    doubts = find_doubts(summary)
    parts = (summary, *summary.get("others", {}).values())
    lines = [line for part in parts for line in _describe_judge(part, is_doubted=part["judge"] in doubts)]
    for pair, figures in summary.get("agreement", {}).items():
        if figures["n"]:
            rank = "undefined" if figures["spearman"] is None else f"{figures['spearman']:.2f}"
            difference = f"mean absolute difference {figures['mean_absolute_difference']:.1f}"
            lines.append(f"{pair}: Spearman {rank}, {difference}, {figures['n']} answers that both scored")
    for name, reasons in doubts.items():
        lines.append(f"warning: {name} cannot be trusted, its scores say little about the answers:")
        lines.append(f"  {'; '.join(reasons)}")
    return "\n".join(lines)


def _describe_judge(summary: dict[str, Any], is_doubted: bool) -> Iterator[str]:
    slope, probes = summary["length_slope"], summary.get("probes")
    yield f"judged by {summary['judge']} ({summary['model']}), 0 to 100"
    yield f"  {'':{NAME_COLUMNS}}{'mean':>9}{'95 % interval':>19}{'n':>7}{'wins':>7}{'ties':>7}{'losses':>7}"
    for name in (*VARIANTS, "known_answers", "new_answers"):
        if part := summary.get(name):
            missing = part["n"] - part["n_scored"]
            yield _row(name, part, "mean", part["n_scored"]) + (f", {missing:,} without a score" if missing else "")
    for prefix, (one, two) in COMPARED.items():
        difference, pairs = summary[f"{prefix}difference"], summary.get(f"{prefix}pairwise")
        yield _row(f"{two} - {one}", difference, "mean", difference["n"]) + _outcomes(difference)
        if pairs is not None:
            yield _row(f"{two} win rate, %", pairs, "win_rate", pairs["n_judged"]) + _outcomes(pairs)
    if slope["slope"] is not None:
        interval = f"95 % interval {slope['ci95_low']:.2f} to {slope['ci95_high']:.2f}"
        yield f"  length slope {slope['slope']:.2f} ({interval}), points per factor of e"
    for prefix, (one, two) in COMPARED.items():
        if pairs := summary.get(f"{prefix}pairwise"):
            share, judged = pairs["order_decided"], f"{pairs['n_judged']:,} of {pairs['n']:,} pairs judged"
            decided = "" if share is None else f", {share:.1f} % decided by order"
            yield f"  {one} and {two}: {judged}{decided}"
    if probes is not None:
        shown = ", ".join(f"{kind} {'-' if probes[kind] is None else format(probes[kind], '.1f')}" for kind in KINDS)
        yield f"  probes: {shown}" + ("" if probes["auc"] is None else f", AUC {probes['auc']:.2f}")
        if not is_doubted and (scale := find_scale(probes)):
            yield f"  note: {summary['judge']}: {scale}"


def _row(label: str, part: Mapping[str, Any], name: str, n: int) -> str:
    value = "none" if part[name] is None else f"{part[name]:.2f}"
    interval = "none" if part["ci95_low"] is None else f"{part['ci95_low']:.2f} to {part['ci95_high']:.2f}"
    return f"  {label:{NAME_COLUMNS}}{value:>9}{interval:>19}{n:7,}"


def _outcomes(part: Mapping[str, Any]) -> str:
    return f"{part['wins']:7,}{part['ties']:7,}{part['losses']:7,}"


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
    counts = {variant: np.histogram(_scores(rows, variant), edges)[0].tolist() for variant in VARIANTS}
    return [{"score": edges[n], **{name: bins[n] for name, bins in counts.items()}} for n in range(len(edges) - 1)]


def _scores(rows: Rows, variant: Variant) -> np.ndarray:
    """The scores of the variant's scored answers, (n_scored,)."""
    scores = [row["score"] for row in rows if row["variant"] == variant and row["score"] is not None]
    return np.array(scores, dtype=np.float64)
