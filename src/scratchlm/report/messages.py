"""The classifier of messages: what it and its baselines get right, and which labels it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scratchlm.classifier.baseline import COMPARED
from scratchlm.report.blocks import Block, Matrix, Section, Side
from scratchlm.report.overview import by_run, figure
from scratchlm.report.run import Run, missing

CONFUSION = "data/plots/classifier_confusion.csv"
STAGE = "finetune_classifier"
MOST_LABELS = 20  # a larger matrix has no room


def messages(runs: Sequence[Run]) -> Section:
    """Return accuracies beside those of the baselines, and the confusion matrix of each run."""
    blocks: list[Block] = []
    accuracies = [(name, figure(f"{STAGE}.{key}", ".2f", " %")) for key, name in COMPARED.items()]
    table = by_run(runs, "Accuracy on the test messages", accuracies)
    if table.rows:
        blocks.append(table)
    further = [
        ("precision", figure(f"{STAGE}.test_precision", ".2f", " %")),
        ("recall", figure(f"{STAGE}.test_recall", ".2f", " %")),
        ("F1", figure(f"{STAGE}.test_f1", ".2f", " %")),
        ("macro F1", figure(f"{STAGE}.test_macro_f1", ".2f", " %")),
        ("accuracy on the training messages", figure(f"{STAGE}.train_accuracy", ".2f", " %")),
        ("accuracy on the validation messages", figure(f"{STAGE}.validation_accuracy", ".2f", " %")),
        ("calibration error", figure(f"{STAGE}.test_calibration_error", ".2f", " %")),
        ("the same before calibration", figure(f"{STAGE}.test_calibration_error_before", ".2f", " %")),
    ]
    table = by_run(runs, "More of the classifier", further)
    if table.rows:
        blocks.append(table)
    matrices = [_matrix(run, several=len(runs) > 1) for run in runs if run.table(CONFUSION)]
    if matrices:
        blocks.append(Side(matrices))
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
