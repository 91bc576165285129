"""Human votes on two answers: win rates with intervals, and how far the judges agree with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.judging.comparison import RESPONSES, VERDICTS
from scratchlm.judging.votes import Votes, summarise_votes
from scratchlm.report.blocks import Column, Section, Table, interval, written
from scratchlm.report.run import PAIRWISE, Run


def ballot(runs: Sequence[Run], votes: Votes) -> Section:
    """Return what the votes on the answers of each run say; a vote is on its two texts, whichever run has them."""
    found = [(pair, run.name if len(runs) > 1 else "") for run in runs for pair in _pairs(run, votes) if pair["n"]]
    titles = ("win rate", "95 % interval", "votes", "wins", "ties", "losses")
    rows = [
        (
            _name(pair, name),
            written(pair["win_rate"], ".2f", " %"),
            interval(pair["ci95_low"], pair["ci95_high"]),
            f"{pair['n']:,} of {pair['n_questions']:,}",
            *(f"{pair[key]:,}" for key in ("wins", "ties", "losses")),
        )
        for pair, name in found
    ]
    agreed = [
        (
            f"{judge['judge']} by {judge['by']}, {_name(pair, name)}",
            written(judge["agreement"], ".1f", " %"),
            written(judge["kappa"], ".2f"),
            f"{judge['n']:,}",
        )
        for pair, name in found
        for judge in pair["judges"]
    ]
    blind = "Of two answers, shown without saying whose they are, a human chose the better one. A tie is half a win."
    tables = [
        Table("Win rates", [Column("", "words"), *map(Column, titles)], rows, blind),
        Table("Do the judges agree?", [Column("", "words"), *map(Column, ("same winner", "kappa", "n"))], agreed),
    ]
    return Section("votes", "Human votes", [table for table in tables if table.rows])


def _name(pair: dict[str, Any], run: str) -> str:
    one, two = pair["pair"]
    return f"{two} against {one}" + (f", {run}" if run else "")


def _pairs(run: Run, votes: Votes) -> Iterator[dict[str, Any]]:
    entries = run.records(RESPONSES)
    if all(entry.keys() >= set(VARIANTS) for entry in entries):  # not from before there was a preferred model
        yield from summarise_votes(entries, votes, run.records(VERDICTS), run.records(PAIRWISE))
