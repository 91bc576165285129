"""Words and punctuation marks as tokens (chapters 2.2 to 2.4), on disk as `vocabulary.json`: token -> id.

The simplest tokenizer. Unlike byte pair encoding it loses white space and every word that is not in the corpus.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scratchlm.errors import InputError, OutputError
from scratchlm.files.atomic import write_json
from scratchlm.files.text import read_json
from scratchlm.tokenizer.protocol import END_OF_TEXT, HF_TOKENIZER, UNKNOWN, encode_with_special

SPECIAL_TOKENS = (END_OF_TEXT, UNKNOWN)  # the last two ids, in this order
VOCABULARY = "vocabulary.json"
WANTED = "a vocabulary of words"

MARKS = r"""[,.:;?_!"()']|--"""
WORDS_AND_MARKS = re.compile(rf"({MARKS})|\s")  # white space is outside the group: split gives None for it
GLUED = frozenset(",.:;?!\"()'")  # decoded without a blank before; `_` and `--` keep theirs, as in the book


def split_words(text: str) -> list[str]:
    """Split a text into words and punctuation marks, without its white space (chapter 2.2)."""
    return [token for token in WORDS_AND_MARKS.split(text) if token]


def build_vocabulary(texts: Iterable[str], vocab_size: int) -> dict[str, int]:
    """Number the words of a corpus in sorted order, then `<|endoftext|>`, then `<|unk|>`: token -> id.

    If there are more than `vocab_size` tokens, the most frequent words are kept; among equally frequent ones, the
    first in sorted order. Memory is needed for one text and all different words.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for part in text.split(END_OF_TEXT):
            counts.update(split_words(part))
    counts.pop(UNKNOWN, None)
    by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
    words = sorted(by_frequency[: vocab_size - len(SPECIAL_TOKENS)])
    return {token: index for index, token in enumerate([*words, *SPECIAL_TOKENS])}


class WordTokenizer:
    """Encodes words as their ids in a vocabulary, and decodes them with one blank between words.

    With `<|unk|>` in the vocabulary it is the book's second version, where that token stands for every unknown word.
    Without, it is the first version, which rejects unknown words.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = dict(vocabulary)
        self._tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        self._special_ids = {token: vocabulary[token] for token in SPECIAL_TOKENS if token in vocabulary}
        self._word_ids = {token: index for token, index in vocabulary.items() if token not in SPECIAL_TOKENS}

    @property
    def n_vocab(self) -> int:
        return len(self._tokens)

    @property
    def eot_token(self) -> int:
        return self._special_ids[END_OF_TEXT]

    @property
    def stop_ids(self) -> Set[int]:
        """The ids that end an answer."""
        return {self.eot_token}

    @property
    def n_merges(self) -> int:
        return 0

    @property
    def unk_token(self) -> int | None:
        return self._special_ids.get(UNKNOWN)

    def tokens(self) -> list[str]:
        """Return every token in the order of the ids."""
        return list(self._tokens)

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens count as ordinary, unknown words.

        Raises InputError that names an unknown word, if the vocabulary has no `<|unk|>`.
        """
        words = split_words(text)
        unknown = self.unk_token
        if unknown is not None:
            return [self._word_ids.get(word, unknown) for word in words]
        try:
            return [self._word_ids[word] for word in words]
        except KeyError as error:
            raise InputError(
                f"the word {error.args[0]!r} is not among the {self.n_vocab} tokens of the vocabulary: use words of "
                f"the corpus it was made from, or a vocabulary with {UNKNOWN}"
            ) from None

    def encode(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> list[int]:
        """Encode a text in which the allowed special tokens get their own ids.

        Raises InputError as `encode_ordinary` does.
        """
        return encode_with_special(text, self._special_ids, allowed_special, self.encode_ordinary)

    def encode_ordinary_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        """Encode each text as `encode_ordinary` does."""
        return [self.encode_ordinary(text) for text in texts]

    def encode_to_numpy(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> npt.NDArray[np.uint32]:
        """Encode as `encode` does, into an array [n] uint32."""
        return np.array(self.encode(text, allowed_special=allowed_special), dtype=np.uint32)

    def decode(self, tokens: Sequence[int], /) -> str:
        """Join the words with blanks, but no blank before punctuation."""
        return "".join(self.decode_stream(tokens))

    def decode_single_token_bytes(self, token: int, /) -> bytes:
        """Return a word in UTF-8."""
        return self._tokens[token].encode()

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of each token as it comes, with the blank before it."""
        for position, index in enumerate(tokens):
            token = self._tokens[index]
            yield token if position == 0 or token in GLUED else f" {token}"


def write_vocabulary(folder: Path, vocabulary: Mapping[str, int]) -> None:
    """Write vocabulary.json."""
    write_json(folder / VOCABULARY, vocabulary)


def read_word_tokenizer(folder: Path) -> WordTokenizer:
    """Read a folder's vocabulary.json; raise OutputError if it is damaged."""
    path = folder / VOCABULARY
    return _checked_tokenizer(read_json(path, WANTED, OutputError), path)


def write_hugging_face_words(model_folder: Path, vocabulary: Mapping[str, int]) -> None:
    """Write a tokenizer.json with which transformers encodes and decodes like `WordTokenizer`."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    theirs = tokenizers.Tokenizer(models.WordLevel(dict(vocabulary), unk_token=UNKNOWN))
    # To Python four control characters are white space, to this library they are not.
    white_space = tokenizers.Regex(r"[\s\x1c-\x1f]")
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(white_space, "removed"), pre_tokenizers.Split(tokenizers.Regex(MARKS), "isolated")]
    )
    # "WordPiece" puts a blank before every token but the first (no token begins with its prefix, a blank). The
    # replacement removes it before punctuation.
    before_glued = tokenizers.Regex(f"^ (?=[{re.escape(''.join(sorted(GLUED)))}])")
    theirs.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix=" ", cleanup=False), decoders.Replace(before_glued, "")]
    )
    theirs.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    write_json(model_folder / HF_TOKENIZER, json.loads(theirs.to_str()))


def checked_hugging_face_words(description: Any, path: Path) -> WordTokenizer:
    """Return the tokenizer of what `write_hugging_face_words` wrote; raise OutputError if it is damaged or another."""
    model = description.get("model") if isinstance(description, dict) else None
    return _checked_tokenizer(model.get("vocab") if isinstance(model, dict) else None, path)


def _checked_tokenizer(vocabulary: Any, path: Path) -> WordTokenizer:
    in_order = isinstance(vocabulary, dict) and list(vocabulary.values()) == list(range(len(vocabulary)))
    if not in_order or tuple(vocabulary)[-len(SPECIAL_TOKENS) :] != SPECIAL_TOKENS:
        raise OutputError(
            f"{path} is not a vocabulary of words, expected words with the ids 0, 1, 2 and so on, then "
            f"{' and '.join(SPECIAL_TOKENS)}"
        )
    return WordTokenizer(vocabulary)
