"""Byte pair encoding (chapter 2.5): training one, and encoding with it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator

import tiktoken

from scratchlm.tokenizer.protocol import END_OF_TEXT

ENDLESS = re.compile(r"\S{1001}|\s{1001}")
WORD_PIECES = re.compile(r"\s{0,1000}\S{1,1000}|\s{1,1000}")
# The split pattern steps back from the end of white space, which takes stack: tiktoken fails at a million.
MOST_BLANKS = 200_000
BLANKS = re.compile(rf"\s{{{MOST_BLANKS}}}")


class BytePairTokenizer(tiktoken.Encoding):
    """tiktoken's encoding, which can also decode a stream."""

    unk_token = None  # every byte is a token

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens are plain text; endless white space is cut where it may be."""
        encode: Callable[[str], list[int]] = super().encode_ordinary
        return [token for part in without_endless_blanks(text) for token in encode(part)]

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of tokens as they come; a character that two tokens share comes with the second."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in tokens:
            yield decoder.decode(self.decode_single_token_bytes(token))
        yield decoder.decode(b"", final=True)


def without_endless_blanks(text: str) -> Iterator[str]:
    """Yield a text in parts with fewer than 2 * `MOST_BLANKS` characters of white space in a row."""
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
        # A token that two pairs lead to is one token; keeping the first pair keeps rank and id in step.
        if left + right not in encoder:
            encoder[left + right] = len(encoder)
            merges.append(f"{left} {right}")
    encoder[END_OF_TEXT] = len(encoder)
    return encoder, merges


def without_endless_words(texts: Iterable[str]) -> Iterator[str]:
    """Cut runs of 1,000 characters, words or blanks: training takes time quadratic in the longest."""
    for text in texts:
        if ENDLESS.search(text):
            yield from WORD_PIECES.findall(text)
        else:
            yield text
