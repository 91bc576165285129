"""The tokenizer of a model folder, as the header of a GGUF file holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scratchlm.checkpoint.gguf_llama import SMOLLM
from scratchlm.errors import InputError, OutputError
from scratchlm.files.text import read_json
from scratchlm.tokenizer.bpe import byte_characters
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer
from scratchlm.tokenizer.protocol import HF_TOKENIZER, Tokenizer
from scratchlm.tokenizer.words import WordTokenizer

GPT2 = "gpt-2"  # llama.cpp's name of how GPT-2 cuts a text into words; SMOLLM cuts out digits too


@dataclass(frozen=True)
class Vocabulary:
    """The tokens in the order of their ids, spelled with GPT-2's character for each byte, and what else there is."""

    tokens: list[str]
    special_ids: frozenset[int]  # stand for no text; the model ends an answer with one of them
    merges: list[str]  # pairs with a blank between, in order of rank
    cut: str  # GPT2 or SMOLLM
    end_of_text_id: int

    @property
    def stops(self) -> list[str]:
        """The special tokens, with which an answer ends here too."""
        return [self.tokens[index] for index in sorted(self.special_ids)]


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the tokenizer.json of a checkpoint.

    Raises OutputError as `read_hugging_face_tokenizer` does, and InputError for a tokenizer of words.
    """
    tokenizer = read_hugging_face_tokenizer(folder)
    check_bytes(tokenizer)
    description = read_json(folder / HF_TOKENIZER, "a tokenizer", OutputError)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]]
    cutter = description["pre_tokenizer"]
    cuts_digits = any(one["type"] == "Digits" for one in cutter.get("pretokenizers", [cutter]))
    special_ids = frozenset(tokenizer.stop_ids)
    character_of = byte_characters()
    tokens = [
        piece.decode() if index in special_ids else "".join(character_of[byte] for byte in piece)
        for index, piece in enumerate(map(tokenizer.decode_single_token_bytes, range(tokenizer.n_vocab)))
    ]
    return Vocabulary(tokens, special_ids, merges, SMOLLM if cuts_digits else GPT2, tokenizer.eot_token)


def check_bytes(tokenizer: Tokenizer) -> None:
    """Raise InputError for a tokenizer of words."""
    if isinstance(tokenizer, WordTokenizer):
        raise InputError(
            "this model cannot be exported, because llama.cpp knows no tokenizer of words: set tokenizer.kind to bpe "
            "or gpt2, and train it again"
        )
