"""Measures of tokenized texts: the longest one, the share of unknown tokens, and the characters per token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer

MEASURED_CHARACTERS = 10_000_000  # some seconds for one thread; 100 GB would take hours, for the same two digits


def longest_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Return the number of tokens of the longest text."""
    return max(len(ids) for ids in tokenizer.encode_ordinary_batch(list(texts)))


def unknown_percent(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the share of `<|unk|>` in the tokens of all texts, in percent."""
    if tokenizer.unk_token is None:
        return 0.0
    encoded = tokenizer.encode_ordinary_batch(list(texts))
    return 100 * sum(ids.count(tokenizer.unk_token) for ids in encoded) / sum(map(len, encoded))


def measure_texts(tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Measure texts by split, under the names in the metrics; unknown tokens are counted in `train` only."""
    return {
        "longest_tokens": max(longest_tokens(tokenizer, part) for part in texts.values()),
        "unknown_percent": unknown_percent(tokenizer, texts["train"]),
    }


def characters_per_token(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """Return the mean number of characters per token of a corpus, read piece by piece.

    Of a corpus with more than 10 million characters, only the pieces up to there are read.
    """
    characters, tokens = 0, 0
    for text in texts:
        characters += len(text)
        tokens += len(tokenizer.encode_to_numpy(text, allowed_special={END_OF_TEXT}))
        if characters >= MEASURED_CHARACTERS:
            break
    return characters / tokens


def characters_of_ids(tokenizer: Tokenizer) -> np.ndarray:
    """Return how many characters begin in each byte pair token, [n_vocab] int64; `<|endoftext|>` has none."""
    # In UTF-8 the bytes 0x80 to 0xbf go on with a character.
    counts = [
        sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_single_token_bytes(index))
        for index in range(tokenizer.n_vocab)
    ]
    counts[tokenizer.eot_token] = 0
    return np.array(counts, dtype=np.int64)
