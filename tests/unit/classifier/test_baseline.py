"""The baselines and the scores of predictions."""

import warnings

import pandas as pd
import pytest

from scratchlm.classifier.baseline import classification_scores, majority_accuracy, tfidf_accuracies


def frame(*rows):
    return pd.DataFrame(rows, columns=["Label", "Text"])


TRAIN = frame(*[(0, f"see you at lunch {i}") for i in range(8)], *[(1, f"win cash now {i}") for i in range(8)])


def test_the_majority_is_that_of_the_training_messages():
    train = frame((2, "a"), (2, "b"), (0, "c"), (1, "d"))
    test = frame((0, "e"), (0, "f"), (0, "g"), (2, "h"))
    assert majority_accuracy(train, test) == 25.0


def test_of_equally_frequent_labels_the_first_is_the_majority():
    assert majority_accuracy(frame((1, "a"), (0, "b")), frame((0, "c"), (0, "d"), (1, "e"))) == pytest.approx(200 / 3)


def test_the_baseline_learns_the_words_that_tell_the_classes_apart():
    validation = frame((0, "lunch at noon?"), (1, "lunch, see you"))
    test = frame((0, "see you"), (1, "cash cash cash"), (1, "win now"), (0, "win cash now"))
    accuracies = tfidf_accuracies(TRAIN, validation, test)
    assert accuracies == {"train": 100.0, "validation": 50.0, "test": 75.0}


def test_the_baseline_sees_word_pairs():
    # Each word occurs equally often in both classes; only the order differs.
    train = frame(*[(0, "call home"), (1, "home call")] * 6)
    assert tfidf_accuracies(train, train, train)["test"] == 100.0


def test_the_baseline_gives_the_same_figures_each_time():
    test = frame((0, "see cash"), (1, "win lunch"), (0, "now at"))
    assert tfidf_accuracies(TRAIN, test, test) == tfidf_accuracies(TRAIN, test, test)


def test_scores_of_a_worked_example():
    # 3 of 4 predictions of spam are right, and 3 of 5 spam messages are found.
    scores = classification_scores([0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0])
    ham_f1 = 100 * 2 * 2 / (2 * 2 + 1 + 2)
    assert scores == pytest.approx(
        {"precision": 75.0, "recall": 60.0, "f1": 200 / 3, "macro_f1": (200 / 3 + ham_f1) / 2}
    )


def test_with_more_labels_there_is_the_mean_over_the_labels_alone():
    # Label 0: 1 of 2 predictions right, 1 of 1 found; label 1: 1 of 1 and 1 of 2; label 2: 1 of 1 and 1 of 1.
    scores = classification_scores([0, 1, 1, 2], [0, 1, 0, 2], n_labels=3)
    assert scores == pytest.approx({"macro_f1": 100 * (2 / 3 + 2 / 3 + 1) / 3})


def test_a_label_that_neither_occurs_nor_is_predicted_does_not_count():
    assert classification_scores([0, 2], [0, 2], n_labels=4) == {"macro_f1": 100.0}


def test_tfidf_learns_many_labels():
    train = frame(*[(label, word) for label, word in enumerate(["lunch", "cash", "rain", "goal"])] * 5)
    assert tfidf_accuracies(train, train, train)["test"] == 100.0


def test_undefined_scores_are_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores([0, 0], [0, 0])
    assert scores == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "macro_f1": 100.0}


def test_labels_and_predictions_of_different_length_are_refused():
    with pytest.raises(ValueError):
        classification_scores([0, 1], [0])


def test_messages_without_a_word_are_scored_by_their_characters():
    train = frame(*[(0, "🙂 🙂"), (1, "💰!!")] * 8)
    assert tfidf_accuracies(train, train, train)["test"] == 100.0
