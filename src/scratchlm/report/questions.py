"""The multiple-choice questions: accuracies with intervals, beside chance, and by subject."""

from __future__ import annotations

from collections.abc import Sequence

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.report.blocks import MISSING, Block, Column, Section, Table, Words, with_interval, written
from scratchlm.report.cells import by_run, count, estimate, figure
from scratchlm.report.intervals import interval_chart
from scratchlm.report.run import Run, missing

STAGE = "benchmark_models"
TABLE = "data/plots/benchmark.csv"
FIRST_ROW = "all questions"


def questions(runs: Sequence[Run]) -> Section:
    """Return the accuracies of all models, those of each subject, and of guessing."""
    asked = [run for run in runs if run.figure(f"{STAGE}.questions")]
    blocks: list[Block] = [
        Words(
            f"{f'{run.name}: no' if len(runs) > 1 else 'No'} questions were asked "
            f"(benchmark.source is {run.figure(f'{STAGE}.source')})."
        )
        for run in runs
        if run.figure(f"{STAGE}.questions") == 0
    ]
    if asked:
        chances = {run.figure(f"{STAGE}.chance") for run in asked}
        chance = chances.pop() if len(chances) == 1 else None
        note = "Answers by the likelihood of each choice, with 95 % bootstrap intervals."
        blocks += interval_chart(runs, STAGE, "Accuracy", "accuracy (%)", note, "acc", "acc_", chance)
        blocks.append(
            by_run(
                runs,
                "Accuracy in %, with 95 % intervals",
                [
                    ("questions", count(f"{STAGE}.questions")),
                    ("chance", figure(f"{STAGE}.chance", ".2f")),
                    *((name, estimate(f"{STAGE}.{name}", "acc", "acc_")) for name in VARIANTS),
                    *(
                        (f"{two} - {one}", estimate(f"{STAGE}.{prefix}difference", "acc", "acc_"))
                        for prefix, (one, two) in COMPARED.items()
                    ),
                ],
            )
        )
    blocks += [_subjects(run, several=len(runs) > 1) for run in asked if run.figure(f"{STAGE}.subjects")]
    return Section("benchmark", "Multiple choice", blocks, missing(runs, TABLE))


def _subjects(run: Run, several: bool) -> Table:
    columns = [Column("subject", "words"), Column("n"), Column("chance"), *map(Column, VARIANTS)]
    rows = [
        (
            subject,
            written(found.get("n"), ","),
            written(found.get("chance"), ".1f"),
            *(
                with_interval(part["acc"], part["acc_ci95_low"], part["acc_ci95_high"], ".1f")
                if (part := found.get(name))
                else MISSING
                for name in VARIANTS
            ),
        )
        for subject, found in run.figure(f"{STAGE}.subjects").items()
    ]
    return Table("By subject, in %" + (f", {run.name}" if several else ""), columns, rows)
