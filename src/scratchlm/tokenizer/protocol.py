"""What every tokenizer does, and the tokens that stand for no text of their own (chapter 2.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

END_OF_TEXT = "<|endoftext|>"  # between documents, after an answer, and as padding
UNKNOWN = "<|unk|>"  # a word that the vocabulary lacks; byte pair encoding needs none


class Tokenizer(Protocol):
    """Text to token ids and back: `BytePairTokenizer` or `WordTokenizer`, in tiktoken's names."""

    @property
    def n_vocab(self) -> int:
        """How many tokens there are; ids count from 0."""

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`."""

    @property
    def unk_token(self) -> int | None:
        """The id of `<|unk|>`, None where every text can be spelled."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens are plain text."""

    def encode_ordinary_batch(self, texts: list[str], /) -> list[list[int]]:
        """Encode each text as `encode_ordinary` does."""

    def encode(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> list[int]:
        """Encode a text in which the special tokens allowed are tokens of their own."""

    def encode_to_numpy(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> npt.NDArray[np.uint32]:
        """Encode as `encode` does, into an array [n] uint32."""

    def decode(self, tokens: Sequence[int], /) -> str:
        """Return the text of tokens."""

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of tokens as they come: joined, the pieces are what `decode` returns."""
