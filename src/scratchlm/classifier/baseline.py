"""The classifier's baselines, the majority class and TF-IDF with logistic regression, and the scores of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from scratchlm.stage.tfidf import fit_tfidf

COMPARED = {
    "majority_test_accuracy": "the majority class",
    "prompted_test_accuracy": "the prompted base",
    "baseline_test_accuracy": "TF-IDF",
    "test_accuracy": "this classifier",
}


def majority_accuracy(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the accuracy on `test`, in percent, of always saying the most frequent label of `train`.

    Of equally frequent labels the first counts. Frames have columns Label and Text.
    """
    return 100 * float((test["Label"] == train["Label"].mode()[0]).mean())


def tfidf_accuracies(train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """Fit TF-IDF with logistic regression on `train` (see `fit_tfidf`) and score all three splits.

    Frames have columns Label and Text. Returns accuracies in percent by split name.
    """
    model = fit_tfidf(train["Text"].tolist(), train["Label"].tolist())
    splits = {"train": train, "validation": validation, "test": test}
    return {name: 100 * float(model.score(part["Text"], part["Label"])) for name, part in splits.items()}


def measure_baselines(frames: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the accuracies of both baselines in percent, under their names in the metrics; `frames` by split."""
    tfidf = tfidf_accuracies(frames["train"], frames["validation"], frames["test"])
    majority = majority_accuracy(frames["train"], frames["test"])
    return {"majority_test_accuracy": majority} | {f"baseline_{split}_accuracy": tfidf[split] for split in tfidf}


def describe_accuracies(metrics: Mapping[str, float | None]) -> str:
    """Return a table of the test accuracies of a classifier and of what it has to beat, with one line for each."""
    rows = [(name, metrics[key]) for key, name in COMPARED.items()]
    figures = ["none" if accuracy is None else f"{accuracy:.2f} %" for _, accuracy in rows]
    width = max(map(len, COMPARED.values()))
    return "\n".join(
        f"test accuracy of {name:{width}}  {figure:>8}" for (name, _), figure in zip(rows, figures, strict=True)
    )


def classification_scores(labels: Sequence[int], predictions: Sequence[int], n_labels: int = 2) -> dict[str, float]:
    """Return macro_f1, and of two labels also precision, recall and f1 of the second (spam), in percent.

    A score is 0.0 where its denominator is 0; a label that neither occurs nor is predicted does not count.
    """
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    scores = {}
    if n_labels == 2:
        found = precision_recall_fscore_support(labels, predictions, average="binary", zero_division=0)
        scores = dict(zip(("precision", "recall", "f1"), found, strict=False))
    scores["macro_f1"] = f1_score(labels, predictions, average="macro", zero_division=0)
    return {name: 100 * float(score) for name, score in scores.items()}
