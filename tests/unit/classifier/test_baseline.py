"""The TF-IDF yardstick and the scores of a two-class guess."""

import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from scratchlm.classifier.baseline import classification_scores, tfidf_accuracies


def frame(*rows):
    return pd.DataFrame(rows, columns=["Label", "Text"])


TRAIN = frame(*[(0, f"see you at lunch {i}") for i in range(8)], *[(1, f"win cash now {i}") for i in range(8)])


def test_the_baseline_learns_the_words_that_tell_the_classes_apart():
    validation = frame((0, "lunch at noon?"), (1, "lunch, see you"))
    test = frame((0, "see you"), (1, "cash cash cash"), (1, "win now"), (0, "win cash now"))
    accuracies = tfidf_accuracies(TRAIN, validation, test)
    assert accuracies == {"train": 100.0, "validation": 50.0, "test": 75.0}


def test_the_baseline_sees_word_pairs():
    # Each word stands in both classes equally often; only the order tells them apart.
    train = frame(*[(0, "call home"), (1, "home call")] * 6)
    assert tfidf_accuracies(train, train, train)["test"] == 100.0


def test_the_baseline_gives_the_same_figures_each_time():
    test = frame((0, "see cash"), (1, "win lunch"), (0, "now at"))
    assert tfidf_accuracies(TRAIN, test, test) == tfidf_accuracies(TRAIN, test, test)


def test_scores_and_confusion_of_a_worked_example():
    scores = classification_scores([0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0])
    assert scores["confusion"] == [[2, 1], [2, 3]]
    assert scores["accuracy"] == 62.5
    assert scores["precision"] == 75.0
    assert scores["recall"] == 60.0
    assert scores["f1"] == pytest.approx(200 / 3)


def test_undefined_scores_are_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores([0, 0], [0, 0])
        empty = classification_scores([], [])
    assert (scores["accuracy"], scores["precision"], scores["recall"], scores["f1"]) == (100.0, 0.0, 0.0, 0.0)
    assert empty["accuracy"] == 0.0 and empty["confusion"] == [[0, 0], [0, 0]]


def test_labels_and_predictions_of_different_length_are_refused():
    with pytest.raises(ValueError):
        classification_scores([0, 1], [0])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1))
def test_scores_are_those_of_scikit_learn(pairs):
    labels, predictions = zip(*pairs, strict=True)
    scores = classification_scores(labels, predictions)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predictions, pos_label=1, average="binary", zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(100 * metrics.accuracy_score(labels, predictions))
    assert scores["precision"] == pytest.approx(100 * precision)
    assert scores["recall"] == pytest.approx(100 * recall)
    assert scores["f1"] == pytest.approx(100 * f1)
    assert scores["confusion"] == metrics.confusion_matrix(labels, predictions, labels=[0, 1]).tolist()


def test_messages_without_a_word_are_scored_by_their_characters():
    train = frame(*[(0, "🙂 🙂"), (1, "💰!!")] * 8)
    assert tfidf_accuracies(train, train, train)["test"] == 100.0
