"""The classifier of messages: what it and its baselines get right, and which labels it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scratchlm.classifier.baseline import COMPARED
from scratchlm.report.blocks import Block, Matrix, Section, Side
from scratchlm.report.cells import by_run, figure
from scratchlm.report.run import Run, missing

CONFUSION = "data/plots/classifier_confusion.csv"
STAGE = "finetune_classifier"
FURTHER = {
    "test_precision": "precision",
    "test_recall": "recall",
    "test_f1": "F1",
    "test_macro_f1": "macro F1",
    "test_calibration_error": "calibration error",
    "test_calibration_error_before": "the same before calibration",
}
MOST_LABELS = 20  # a larger matrix has no room


def messages(runs: Sequence[Run]) -> Section:
    """Return accuracies beside those of the baselines, and the confusion matrix of each run."""
    blocks: list[Block] = []
    rows = [(f"accuracy of {name}", figure(f"{STAGE}.{key}", ".2f", " %")) for key, name in COMPARED.items()]
    rows += [(name, figure(f"{STAGE}.{key}", ".2f", " %")) for key, name in FURTHER.items()]
    table = by_run(runs, "On the test messages", rows)
    matrices = [_matrix(run, several=len(runs) > 1) for run in runs if run.table(CONFUSION)]
    if len(runs) == 1 and table.rows and matrices:
        blocks.append(Side([table, *matrices]))
    else:
        blocks += [table] if table.rows else []
        blocks += [Side(matrices)] if matrices else []
    return Section("classifier", "The classifier", blocks, missing(runs, CONFUSION))


def _matrix(run: Run, several: bool) -> Matrix:
    pairs = Counter((row["actual"], row["predicted"]) for row in run.table(CONFUSION))
    labels = sorted({label for pair in pairs for label in pair})
    n = sum(pairs.values())
    right = sum(pairs[label, label] for label in labels)
    title = "Confusion matrix" + (f", {run.name}" if several else "")
    note = f"{right:,} of {n:,} test messages got their own label."
    if len(labels) > MOST_LABELS:
        note += f" Of {len(labels)} labels, the commonest {MOST_LABELS} are shown."
        by_count = Counter(row["actual"] for row in run.table(CONFUSION))
        labels = sorted(sorted(labels, key=lambda label: (-by_count[label], label))[:MOST_LABELS])
    return Matrix(title, labels, [[pairs[actual, predicted] for predicted in labels] for actual in labels], note)
