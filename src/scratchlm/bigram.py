"""The bigram model: what a language model must beat to have learned more than which token follows which."""

from __future__ import annotations

import numpy as np


def bigram_loss(train_ids: np.ndarray, validation_ids: np.ndarray, vocab_size: int) -> float:
    """Return the mean cross entropy, in nats per token, of a bigram model counted on `train_ids`.

    Smoothed after Witten and Bell (1991): a token that was followed by t different ones gives the share
    t / (count + t) to the unigram distribution, which counts every token once more than seen.
    """
    train, validation = train_ids.astype(np.int64), validation_ids.astype(np.int64)
    unigram = np.bincount(train, minlength=vocab_size) + 1
    unigram_probability = unigram / unigram.sum()
    pairs, counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
    first = pairs // vocab_size
    followed = np.bincount(first, weights=counts, minlength=vocab_size)
    n_followers = np.bincount(first, minlength=vocab_size)
    previous, following = validation[:-1], validation[1:]
    wanted = previous * vocab_size + following
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, counts[place], 0)
    # A token that nothing followed in training has no bigram counts: the unigram alone speaks.
    weight = np.maximum(n_followers[previous], followed[previous] == 0)
    probability = (seen + weight * unigram_probability[following]) / (followed[previous] + weight)
    return float(-np.log(probability).mean())
