"""What every tokenizer does, and byte pair encoding (chapter 2.5): GPT-2's two files, or trained on a corpus.

`encoder.json` maps each token to its id, `vocab.bpe` lists the merges in order of rank. Both spell a token
with one printable character for each byte, GPT-2's way of keeping spaces and control bytes out of text files.
"""

from __future__ import annotations

import codecs
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str as GPT2_SPLIT_PATTERN

from scratchlm.errors import InputError
from scratchlm.files import read_json, write_json, write_text
from scratchlm.special_tokens import END_OF_TEXT
from scratchlm.word_tokenizer import (
    HF_TOKENIZER,
    VOCABULARY,
    read_hugging_face_words,
    read_word_tokenizer,
    write_hugging_face_words,
)

ENCODER, MERGES = "encoder.json", "vocab.bpe"  # OpenAI's names
HF_ENCODER, HF_MERGES = "vocab.json", "merges.txt"  # Hugging Face's names for the same two files
MERGES_HEADER = "#version: 0.2"
ENDLESS = re.compile(r"\S{1001}|\s{1001}")
WORD_PIECES = re.compile(r"\s{0,1000}\S{1,1000}|\s{1,1000}")
# The split pattern steps back from the end of white space, which takes stack: tiktoken fails at a million.
MOST_BLANKS = 200_000
BLANKS = re.compile(rf"\s{{{MOST_BLANKS}}}")


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


def write_tokenizer(folder: Path, encoder: dict[str, int], merges: list[str]) -> None:
    """Write encoder.json and vocab.bpe in the form of GPT-2's own."""
    write_json(folder / ENCODER, encoder)
    write_text(folder / MERGES, "\n".join([MERGES_HEADER, *merges, ""]))


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read `data/tokenizer/`: vocabulary.json, or else encoder.json and vocab.bpe.

    Raises InputError if they are missing, damaged or do not belong together.
    """
    if (folder / VOCABULARY).exists():
        return read_word_tokenizer(folder)
    return _read_encoding(folder / ENCODER, folder / MERGES)


def read_hugging_face_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model folder: words from tokenizer.json, or else vocab.json and merges.txt."""
    # GPT-2's own folders hold a tokenizer.json too, which repeats the other two files.
    if (folder / HF_TOKENIZER).exists() and not (folder / HF_ENCODER).exists():
        return read_hugging_face_words(folder)
    return _read_encoding(folder / HF_ENCODER, folder / HF_MERGES)


def copy_tokenizer_for_hugging_face(tokenizer_folder: Path, model_folder: Path) -> None:
    """Put the tokenizer beside a model under the names that transformers' AutoTokenizer looks for."""
    if (tokenizer_folder / VOCABULARY).exists():
        write_hugging_face_words(model_folder, read_word_tokenizer(tokenizer_folder).vocabulary)
        return
    shutil.copyfile(tokenizer_folder / ENCODER, model_folder / HF_ENCODER)
    shutil.copyfile(tokenizer_folder / MERGES, model_folder / HF_MERGES)
    write_json(
        model_folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
        },
    )


def end_of_text(tokenizer: Tokenizer) -> int:
    """Return the id of `<|endoftext|>`."""
    return tokenizer.eot_token


def unknown_percent(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Return how many of the tokens of texts are `<|unk|>`, in percent."""
    if tokenizer.unk_token is None:
        return 0.0
    encoded = tokenizer.encode_ordinary_batch(texts)
    return 100 * sum(ids.count(tokenizer.unk_token) for ids in encoded) / sum(map(len, encoded))


def _read_encoding(encoder_path: Path, merges_path: Path) -> BytePairTokenizer:
    try:
        encoder = read_json(encoder_path)
        lines = merges_path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: run `make repro` to build it") from None
    except ValueError as error:
        raise InputError(
            f"{encoder_path} or {merges_path} is damaged ({error}): run `make repro` to build it again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}): run `make repro` to build it again"
        ) from None
    byte_of = {character: byte for byte, character in byte_characters().items()}

    def spelled_bytes(token: str) -> bytes:
        return bytes(byte_of[character] for character in token)

    tokens = list(byte_of)
    tokens += [line.replace(" ", "", 1) for line in lines if line and not line.startswith("#version")]
    spelled = all(byte_of.keys() >= set(token) for token in tokens)
    if not spelled or encoder != {token: rank for rank, token in enumerate([*tokens, END_OF_TEXT])}:
        raise InputError(
            f"{encoder_path} and {merges_path} do not belong together: expected as ids the 256 bytes, then "
            f"{len(tokens) - 256} merges in order, then {END_OF_TEXT}; run `make repro` to build both again"
        )
    return BytePairTokenizer(
        name=encoder_path.parent.name,
        pat_str=GPT2_SPLIT_PATTERN,
        mergeable_ranks={spelled_bytes(token): rank for rank, token in enumerate(tokens)},
        special_tokens={END_OF_TEXT: len(tokens)},
    )
