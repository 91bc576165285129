"""A plain measure of whether a preference was learned: how many answers read like the chosen ones of the pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scratchlm.assistant.pairs import Pair
from scratchlm.stage.tfidf import fit_tfidf


def preference_shares(train: Sequence[Pair], answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return how many of the answers under each name a plain classifier holds for chosen ones, in percent.

    The classifier, TF-IDF with logistic regression, learns to tell the chosen from the rejected answers of the
    training pairs; it knows no prompt, no reference and no model. An empty answer counts as not chosen. Give it answers
    to prompts that are not in `train`, and for comparison the chosen and the rejected answers of the test pairs: if it
    cannot tell those apart, its other figures say nothing.
    """
    texts = [text for pair in train for text in (pair["chosen"], pair["rejected"])]
    judge = fit_tfidf(texts, [1, 0] * len(train))
    return {
        name: 100 * float(sum(judge.predict(given) * [bool(text.strip()) for text in given])) / len(given)
        for name, given in answers.items()
    }
