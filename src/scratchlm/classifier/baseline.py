"""The yardstick beside the classifier, TF-IDF with logistic regression, and the scores of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd


def tfidf_accuracies(train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """Fit TF-IDF of words and word pairs with logistic regression on `train` and score all three splits.

    Where no training text has a word of two letters, such as emoji alone, characters stand in for words.
    Frames have columns Label (0 or 1) and Text. Returns accuracies in percent by split name.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    analyzer = "word" if train["Text"].str.contains(r"\b\w\w+\b").any() else "char"
    tfidf = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(tfidf, LogisticRegression(max_iter=1000))
    model.fit(train["Text"], train["Label"])
    splits = {"train": train, "validation": validation, "test": test}
    return {name: 100 * float(model.score(part["Text"], part["Label"])) for name, part in splits.items()}


def classification_scores(labels: Sequence[int], predictions: Sequence[int]) -> dict[str, Any]:
    """Score predictions of 0 (ham) and 1 (spam), spam being the positive class.

    Returns accuracy, precision, recall and f1 in percent, 0.0 where nothing was to be divided by, and
    `confusion`, counts with actual classes as rows and predicted ones as columns.
    """
    confusion = [[0, 0], [0, 0]]
    for label, prediction in zip(labels, predictions, strict=True):
        confusion[label][prediction] += 1
    (true_ham, false_spam), (false_ham, true_spam) = confusion

    def percent(part: int, whole: int) -> float:
        return 100 * part / whole if whole else 0.0

    return {
        "accuracy": percent(true_ham + true_spam, true_ham + false_spam + false_ham + true_spam),
        "precision": percent(true_spam, true_spam + false_spam),
        "recall": percent(true_spam, true_spam + false_ham),
        "f1": percent(2 * true_spam, 2 * true_spam + false_spam + false_ham),
        "confusion": confusion,
    }
