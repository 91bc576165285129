"""What every tokenizer can do, and the special tokens (chapter 2.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

END_OF_TEXT = "<|endoftext|>"  # between documents, after an answer, and as padding
UNKNOWN = "<|unk|>"  # a word that is not in the vocabulary; byte pair encoding does not need it

HF_TOKENIZER = "tokenizer.json"  # Hugging Face's name for a tokenizer in one file


class Tokenizer(Protocol):
    """Text to token ids and back: `BytePairTokenizer`, `ByteLevelTokenizer` or `WordTokenizer`; tiktoken's names."""

    @property
    def n_vocab(self) -> int:
        """The number of tokens; ids start at 0."""

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`."""

    @property
    def stop_ids(self) -> Set[int]:
        """The ids that end an answer: `<|endoftext|>`, and further special tokens where there are some."""

    @property
    def n_merges(self) -> int:
        """How many tokens are merges of two others."""

    @property
    def unk_token(self) -> int | None:
        """The id of `<|unk|>`; None if no text has unknown tokens."""

    def tokens(self) -> list[bytes] | list[str]:
        """Return every token in the order of the ids; tokenizers with equal lists encode alike."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens are plain text."""

    def encode_ordinary_batch(self, texts: list[str], /) -> list[list[int]]:
        """Encode each text as `encode_ordinary` does."""

    def encode(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> list[int]:
        """Encode a text in which the allowed special tokens get their own ids."""

    def encode_to_numpy(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> npt.NDArray[np.uint32]:
        """Encode as `encode` does, into an array [n] uint32."""

    def decode(self, tokens: Sequence[int], /) -> str:
        """Return the text of the tokens."""

    def decode_single_token_bytes(self, token: int, /) -> bytes:
        """Return the bytes that a token stands for: a part of a character, characters, or a special token's name."""

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of each token as it comes; joined, this is what `decode` returns."""


def encode_with_special(
    text: str,
    special_ids: Mapping[str, int],
    allowed_special: Literal["all"] | Set[str],
    encode_ordinary: Callable[[str], list[int]],
) -> list[int]:
    """Encode a text in which the allowed ones of the special tokens get their own ids, and the rest is ordinary."""
    allowed = special_ids if allowed_special == "all" else special_ids.keys() & allowed_special
    if not allowed:
        return encode_ordinary(text)
    longest_first = sorted(allowed, key=len, reverse=True)  # one may begin another
    ids = []
    for index, part in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text)):
        ids += [special_ids[part]] if index % 2 else encode_ordinary(part)
    return ids
