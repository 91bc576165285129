"""The plain judge of texts that models are compared with: TF-IDF and logistic regression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

A_WORD = re.compile(r"\b\w\w+\b")


def fit_tfidf(texts: Sequence[str], labels: Sequence[int]) -> Pipeline:
    """Fit TF-IDF of words and word pairs with logistic regression; `predict` of the result gives labels of texts.

    If no text has a word of two letters (only emoji, say), characters are used instead of words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # here: scikit-learn takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    analyzer = "word" if any(map(A_WORD.search, texts)) else "char"
    tfidf = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(tfidf, LogisticRegression(max_iter=1000)).fit(texts, labels)
