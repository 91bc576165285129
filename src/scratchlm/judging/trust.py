"""Trust: which of a judge's figures miss what an honest judge reaches, strict or generous as it may be.

All scores are from 0 to 100. Where an honest judge may merely be strict, its scores are compared with its own: only
its scores of wrong answers are held to a fixed mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scratchlm.assistant.instructions import COMPARED, VARIANTS

SCORED_AT_LEAST = 90.0  # percent; a mean of fewer is one of the answers that the judge happened to understand
REFERENCE_AT_LEAST = 95.0
SHUFFLED_AT_MOST = 10.0
LOW_AT_MOST = 20.0  # for repeating the prompt and for demanding the score
PADDING_GAIN_AT_MOST = 5.0  # three standard errors of 20 differences, should a judge's scores vary by 5
AUC_AT_LEAST = 0.9
ORDER_DECIDED_AT_MOST = 50.0  # percent of the pairs; above, the order decides more of them than the answers do
# Of the agreement with `overlap` both must be missed: a generous judge is far from it, and where all answers are
# equally bad no judge ranks them alike. On the answers of benchmarks/overlap.py Llama 3 8B has 0.68 and 17 points,
# dice have 0 and 44.
SPEARMAN_AT_LEAST = 0.4
DIFFERENCE_AT_MOST = 25.0


def find_doubts(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """What speaks against the judges of a summary, as `summarise` makes it: by name, only those with something.

    Each line is a figure and, in brackets, what is wanted of it. References below 95 accuse nobody; see `find_scale`.
    """
    parts = [summary, *summary.get("others", {}).values()]
    found = {part["judge"]: [*_doubts_of(part), *_disagreement(summary, part["judge"])] for part in parts}
    return {name: lines for name, lines in found.items() if lines}


def find_scale(probes: Mapping[str, float | int | None]) -> str | None:
    """What to compare a judge's scores with, if that is not 100."""
    reference = probes["reference"]
    if reference is None or reference >= REFERENCE_AT_LEAST:
        return None
    return f"it gives the references themselves {reference:.1f}: compare its scores with that, not with 100"


def _doubts_of(summary: Mapping[str, Any]) -> Iterator[str]:
    variants = [summary[variant] for variant in VARIANTS]
    yield from _scored("answers", sum(part["n_scored"] for part in variants), sum(map(_n_answered, variants)))
    if probes := summary.get("probes"):
        yield from _scored("probes", probes["n_scored"], _n_answered(probes))
        area, gain = probes["auc"], probes["padding_gain"]
        if area is not None and area < AUC_AT_LEAST:
            yield f"AUC of references against wrong answers {area:.2f} (at least {AUC_AT_LEAST:g})"
        for kind, what, most in (
            ("shuffled", "right answers to other tasks", SHUFFLED_AT_MOST),
            ("echo", "repeated prompts", LOW_AT_MOST),
            ("injection", "answers that only demand 100", LOW_AT_MOST),
        ):
            if probes[kind] is not None and probes[kind] > most:
                yield f"{what} get {probes[kind]:.1f} (at most {most:g})"
        if gain is not None and gain > PADDING_GAIN_AT_MOST:
            yield f"empty politeness earns {gain:.1f} (at most {PADDING_GAIN_AT_MOST:g})"
    for prefix, (one, two) in COMPARED.items():
        if pairs := summary.get(f"{prefix}pairwise"):
            n_questions = 2 * pairs["n"]
            names, share = f"{one} and {two}", pairs["order_decided"]
            n_answered = n_questions - pairs.get("n_unanswered", 0)
            yield from _scored(f"comparisons of {names}", round(pairs["coverage"] * n_questions), n_answered)
            if share is not None and share > ORDER_DECIDED_AT_MOST:
                yield f"the order decides {share:.1f} % of the pairs of {names} (at most {ORDER_DECIDED_AT_MOST:g} %)"


def _n_answered(part: Mapping[str, Any]) -> int:
    """How many questions the judge answered: a server that is gone says nothing about the judge."""
    count: int = part["n"] - part.get("n_unanswered", 0)
    return count


def _scored(what: str, n_scored: int, n: int) -> Iterator[str]:
    if 100 * n_scored < SCORED_AT_LEAST * n:
        yield f"{100 * n_scored / n:.1f} % of the {what} scored (at least {SCORED_AT_LEAST:g} %)"


def _disagreement(summary: Mapping[str, Any], name: str) -> Iterator[str]:
    for pair, figures in summary.get("agreement", {}).items():
        rank, difference = figures["spearman"], figures["mean_absolute_difference"]
        if pair not in (f"{name} ~ overlap", f"overlap ~ {name}") or difference is None:
            continue
        if (rank is None or rank < SPEARMAN_AT_LEAST) and difference > DIFFERENCE_AT_MOST:
            shown = "undefined" if rank is None else f"{rank:.2f}"
            yield (
                f"Spearman with overlap {shown} (at least {SPEARMAN_AT_LEAST:g}) and {difference:.1f} points from it "
                f"(at most {DIFFERENCE_AT_MOST:g})"
            )
