"""Byte pair encoding (chapter 2.5): training a tokenizer, and encoding with it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Set

import tiktoken

from scratchlm.params.choices import BYTES_AND_END
from scratchlm.tokenizer.protocol import END_OF_TEXT

ENDLESS = re.compile(r"\S{1001}|\s{1001}")
WORD_PIECES = re.compile(r"\s{0,1000}\S{1,1000}|\s{1,1000}")
# The split pattern backtracks over white space, which needs stack: tiktoken fails at a million characters.
MOST_BLANKS = 200_000
BLANKS = re.compile(rf"\s{{{MOST_BLANKS}}}")


class BytePairTokenizer(tiktoken.Encoding):
    """tiktoken's encoding, which also takes endless white space and decodes a stream."""

    unk_token = None  # every byte is a token

    @property
    def stop_ids(self) -> Set[int]:
        """The ids that end an answer."""
        return {self.eot_token}

    @property
    def n_merges(self) -> int:
        """How many tokens are merges of two others."""
        return int(self.n_vocab) - BYTES_AND_END

    def tokens(self) -> list[bytes]:
        """Return every token in the order of the ids, which is also that of the merges."""
        return [self.decode_single_token_bytes(index) for index in range(self.n_vocab)]

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens are plain text; very long white space is encoded in parts."""
        encode: Callable[[str], list[int]] = super().encode_ordinary
        return [token for part in without_endless_blanks(text) for token in encode(part)]

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of each token; a character that spans several tokens comes with the last of them."""
        return decode_pieces(map(self.decode_single_token_bytes, tokens))


def decode_pieces(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of each piece; a character that spans several comes with the last, what is none as U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def without_endless_blanks(text: str) -> Iterator[str]:
    """Yield a text in parts that have fewer than 2 * `MOST_BLANKS` characters of white space in a row."""
    start = 0
    for blanks in BLANKS.finditer(text) if len(text) >= MOST_BLANKS else ():
        yield text[start : blanks.end()]
        start = blanks.end()
    yield text[start:]


def byte_characters() -> dict[int, str]:
    """Return the printable character that stands for each of the 256 bytes, in GPT-2's id order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def train_bpe(texts: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[str]]:
    """Train a byte-level BPE; return token -> id (bytes, then merges, `<|endoftext|>` last) and the merges.

    A small corpus can run out of pairs to merge before `vocab_size` is reached.
    """
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = list(byte_characters().values())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    bpe.train_from_iterator(without_endless_words(texts), trainer)
    encoder = {character: index for index, character in enumerate(alphabet)}
    merges = []
    for left, right in json.loads(bpe.to_str())["model"]["merges"]:
        # Two pairs can give the same token: keep only the first, so that rank and id stay in step.
        if left + right not in encoder:
            encoder[left + right] = len(encoder)
            merges.append(f"{left} {right}")
    encoder[END_OF_TEXT] = len(encoder)
    return encoder, merges


def without_endless_words(texts: Iterable[str]) -> Iterator[str]:
    """Cut words and white space after 1,000 characters: training time is quadratic in the longest."""
    for text in texts:
        if ENDLESS.search(text):
            yield from WORD_PIECES.findall(text)
        else:
            yield text
