"""The bigram baseline: a language model must beat it to have learned more than which token follows which."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scratchlm.tokens.shards import Ids

CHUNK_TOKENS = 1 << 24  # the ids may be files larger than memory
# Of each split. More tokens have more different pairs, up to gigabytes of them, and a baseline needs no more.
COUNTED_TOKENS = 1 << 27


def bigram_loss(train_ids: Ids, validation_ids: Ids, vocab_size: int) -> float:
    """Return the mean cross entropy, in nats per token, of a bigram model counted on `train_ids`.

    Smoothed after Witten and Bell (1991): after a token that was followed by t different ones, the unigram
    distribution gets the weight t / (count + t). It counts every token once more than seen. Both arrays need at
    least two ids, and the first 134 million (2^27) of each are read; memory depends on the chunk and on the number of
    different pairs.
    """
    train_ids, validation_ids = train_ids[:COUNTED_TOKENS], validation_ids[:COUNTED_TOKENS]
    unigram = np.bincount(train_ids[:1], minlength=vocab_size) + 1
    pairs: np.ndarray = np.empty(0, dtype=np.int64)
    counts: np.ndarray = np.empty(0)
    for previous, following in _neighbours(train_ids):
        unigram += np.bincount(following, minlength=vocab_size)
        found, times = np.unique(previous * vocab_size + following, return_counts=True)
        pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([counts, times]))
    unigram_probability = unigram / unigram.sum()
    first = pairs // vocab_size
    followed = np.bincount(first, weights=counts, minlength=vocab_size)
    n_followers = np.bincount(first, minlength=vocab_size)
    loss_sum = 0.0
    for previous, following in _neighbours(validation_ids):
        wanted = previous * vocab_size + following
        place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        seen = np.where(pairs[place] == wanted, counts[place], 0)
        # A token that nothing followed in training has no bigram counts: fall back to the unigram.
        weight = np.maximum(n_followers[previous], followed[previous] == 0)
        probability = (seen + weight * unigram_probability[following]) / (followed[previous] + weight)
        loss_sum -= np.log(probability).sum()
    return float(loss_sum / (len(validation_ids) - 1))


def _neighbours(ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tokens and their followers, as two int64 arrays per chunk."""
    for start in range(0, len(ids) - 1, CHUNK_TOKENS):
        chunk = ids[start : start + CHUNK_TOKENS + 1].astype(np.int64)
        yield chunk[:-1], chunk[1:]
