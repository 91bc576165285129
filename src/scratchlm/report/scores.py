"""The judges' scores of base, assistant and preferred: means with intervals, wins, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.errors import InputError
from scratchlm.judging import comparison
from scratchlm.judging.comparison import RESPONSES, VERDICTS, Judged
from scratchlm.judging.trust import find_doubts, find_scale
from scratchlm.report.blocks import MISSING, Block, Column, Section, Table, Words, interval, written
from scratchlm.report.cells import Cell, by_run, estimate
from scratchlm.report.intervals import interval_chart
from scratchlm.report.run import PAIRWISE, Run, missing

STAGE = "judge_responses"
PARTS = {
    "known_answers": "assistant, where the answer is in train",
    "new_answers": "assistant, where it is not",
}
PROBES = {
    "n": ("items", ","),
    "reference": ("the references themselves", ".1f"),
    "shuffled": ("right answers to other tasks", ".1f"),
    "echo": ("repeated prompts", ".1f"),
    "padding": ("empty politeness", ".1f"),
    "injection": ("answers that only demand 100", ".1f"),
    "auc": ("AUC of references against wrong answers", ".2f"),
}
NAMES: dict[str, str] = {**{name: name for name in VARIANTS}, **PARTS}


def scores(runs: Sequence[Run]) -> Section:
    """Return each judge's scores, as a drawing and a table, and the differences between runs."""
    blocks: list[Block] = []
    note = "Mean scores from 0 to 100, with 95 % bootstrap intervals."
    blocks += interval_chart(runs, STAGE, "Mean scores", "mean score", note)
    if len(runs) == 1:
        for judge in _judges(runs[0]):
            blocks.append(_scores_table(judge))
            blocks += _pair_tables(judge)
    else:
        blocks.append(by_run(runs, "Mean scores with 95 % intervals", [("judge", _judge_name), *_mean_rows()]))
        blocks += _differences(runs)
    blocks += _trust(runs)
    return Section(
        "scores", "Scores", [block for block in blocks if not _is_empty(block)], missing(runs, VERDICTS, PAIRWISE)
    )


def _is_empty(block: Block) -> bool:
    return isinstance(block, Table) and not block.rows


def _judge_name(run: Run) -> str:
    return run.figure(f"{STAGE}.judge") or MISSING


def _mean_rows() -> list[tuple[str, Cell]]:
    differences = [
        (f"{two} - {one}", estimate(f"{STAGE}.{prefix}difference")) for prefix, (one, two) in COMPARED.items()
    ]
    wins = [
        (f"{two} against {one}: win rate (%)", estimate(f"{STAGE}.{prefix}pairwise", "win_rate"))
        for prefix, (one, two) in COMPARED.items()
    ]
    return [*((label, estimate(f"{STAGE}.{name}")) for name, label in NAMES.items()), *differences, *wins]


def _judges(run: Run) -> list[Mapping[str, Any]]:
    first = run.metrics.get(STAGE)
    return [first, *first.get("others", {}).values()] if first else []


def _scores_table(judge: Mapping[str, Any]) -> Table:
    columns = [
        Column("", "words"),
        *(Column(title) for title in ("mean", "95 % interval", "n", "wins", "ties", "losses")),
    ]
    parts = [(label, judge[name], "n_scored") for name, label in NAMES.items() if name in judge]
    parts += [
        (f"{two} - {one}", judge[f"{prefix}difference"], "n")
        for prefix, (one, two) in COMPARED.items()
        if f"{prefix}difference" in judge
    ]
    rows = [
        (
            label,
            written(part["mean"], ".2f"),
            interval(part["ci95_low"], part["ci95_high"]),
            written(part[n], ","),
            *(written(part[key], ",") if key in part else "" for key in ("wins", "ties", "losses")),
        )
        for label, part, n in parts
    ]
    return Table(
        f"Scores by {judge['judge']}", columns, rows, f"Judged by {judge['judge']} ({judge['model']}), 0 to 100."
    )


def _pair_tables(judge: Mapping[str, Any]) -> Iterator[Table]:
    columns = [
        Column("", "words"),
        *(Column(title) for title in ("win rate", "95 % interval", "pairs", "wins", "ties", "losses", "order decided")),
    ]
    rows = [
        (
            f"{two} against {one}",
            written(pairs["win_rate"], ".2f", " %"),
            interval(pairs["ci95_low"], pairs["ci95_high"]),
            f"{pairs['n_judged']:,} of {pairs['n']:,}",
            *(written(pairs[key], ",") for key in ("wins", "ties", "losses")),
            written(pairs["order_decided"], ".1f", " %"),
        )
        for prefix, (one, two) in COMPARED.items()
        if (pairs := judge.get(f"{prefix}pairwise"))
    ]
    yield Table(f"Answers side by side, by {judge['judge']}", columns, rows)


def _trust(runs: Sequence[Run]) -> Iterator[Block]:
    """Yield what tests of each judge say, and what speaks against it."""
    for name in dict.fromkeys(judge["judge"] for run in runs for judge in _judges(run)):
        rows = [(label, _probe(name, key, form)) for key, (label, form) in PROBES.items()]
        table = by_run(
            runs, f"{name}, tested itself", rows, note="Mean scores of answers that are known to be good or bad."
        )
        yield table if table.rows else Words(f"{name} was not tested itself (judge.probes is 0).")
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        judges = _judges(run)
        if not judges or not all(variant in judge for judge in judges for variant in VARIANTS):
            continue  # from before there was a preferred model
        doubts = find_doubts(judges[0])
        for name, reasons in doubts.items():
            yield Words(
                f"{prefix}{name} cannot be trusted, its scores say little about the answers: {'; '.join(reasons)}.",
                is_warning=True,
            )
        for judge in judges:
            if judge["judge"] not in doubts and "probes" in judge and (scale := find_scale(judge["probes"])):
                yield Words(f"{prefix}{judge['judge']}: {scale}.")


def _probe(name: str, key: str, form: str) -> Cell:
    def cell(run: Run) -> str:
        found = [judge["probes"] for judge in _judges(run) if judge["judge"] == name and "probes" in judge]
        return written(found[0].get(key), form) if found else MISSING

    return cell


def _differences(runs: Sequence[Run]) -> Iterator[Block]:
    """Compare each run with the first, entry by entry."""
    first, *others = (Judged(run.name, run.records(RESPONSES), _rows(run)) for run in runs)
    rows = []
    for other in others:
        if not (first.rows and other.rows and first.entries and other.entries):
            continue
        try:
            found = comparison.compare(first, other)
        except InputError as error:
            yield Words(f"{other.revision} - {first.revision}: no difference by entries, for {error}.")
            continue
        rows += [
            (
                f"{each.variant}, {each.judge}: {other.revision} - {first.revision}",
                written(each.difference.value, "+.2f"),
                interval(each.difference.low, each.difference.high, "+.2f"),
                *(f"{number:,}" for number in (each.n, each.wins, each.ties, each.losses)),
                each.sign,
            )
            for each in found
        ]
    titles = ("difference", "95 % interval", "n", "wins", "ties", "losses")
    columns = [Column("", "words"), *map(Column, titles), Column("so it is", "words")]
    yield Table("Differences entry by entry", columns, rows, "Undecided: the interval includes 0.")


def _rows(run: Run) -> list[Any]:
    return [row for row in run.records(VERDICTS) if set(comparison.ROW_KEYS) <= row.keys()]
