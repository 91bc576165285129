"""A tokenizer on disk: the two files of byte pair encoding (chapter 2.5), a vocabulary of words, or a tokenizer.json.

`encoder.json` maps each token to its id, `vocab.bpe` lists the merges in order of rank. Both write a token
with one printable character per byte, GPT-2's way to keep spaces and control bytes out of text files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tiktoken_ext.openai_public import r50k_pat_str as GPT2_SPLIT_PATTERN

from scratchlm.errors import OutputError
from scratchlm.files.atomic import write_json, write_text
from scratchlm.files.text import read_json, read_text
from scratchlm.tokenizer.bpe import BytePairTokenizer, byte_characters
from scratchlm.tokenizer.byte_level import checked_byte_level
from scratchlm.tokenizer.protocol import END_OF_TEXT, HF_SETTINGS, HF_TOKENIZER, Tokenizer
from scratchlm.tokenizer.words import (
    VOCABULARY,
    checked_hugging_face_words,
    read_word_tokenizer,
    write_hugging_face_words,
)

ENCODER, MERGES = "encoder.json", "vocab.bpe"  # OpenAI's names
HF_ENCODER, HF_MERGES = "vocab.json", "merges.txt"  # Hugging Face's names for the same two files
HF_FILES = (HF_ENCODER, HF_MERGES, HF_TOKENIZER, HF_SETTINGS)  # that the tokenizer of a checkpoint can have
MERGES_HEADER = "#version: 0.2"


def write_tokenizer(folder: Path, encoder: dict[str, int], merges: list[str]) -> None:
    """Write encoder.json and vocab.bpe in the format of GPT-2's files."""
    write_json(folder / ENCODER, encoder)
    write_text(folder / MERGES, "\n".join([MERGES_HEADER, *merges, ""]))


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read `data/tokenizer/`: vocabulary.json, or else encoder.json and vocab.bpe.

    Raises OutputError if they are missing, damaged or do not belong together.
    """
    if (folder / VOCABULARY).exists():
        return read_word_tokenizer(folder)
    return _read_encoding(folder / ENCODER, folder / MERGES)


def read_hugging_face_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint: tokenizer.json, of words or bytes, or else vocab.json and merges.txt."""
    path = folder / HF_TOKENIZER
    # Hugging Face's GPT-2 folders have a tokenizer.json too; it repeats the other two files.
    if not path.exists() or (folder / HF_ENCODER).exists():
        return _read_encoding(folder / HF_ENCODER, folder / HF_MERGES)
    description = read_json(path, "a tokenizer", OutputError)
    model = description.get("model") if isinstance(description, dict) else None
    if isinstance(model, dict) and model.get("type") == "BPE":
        return checked_byte_level(description, path)
    return checked_hugging_face_words(description, path)


def copy_tokenizer_for_hugging_face(tokenizer_folder: Path, model_folder: Path) -> None:
    """Copy the tokenizer in data/tokenizer, or that of another checkpoint, into a checkpoint.

    The files have the names that transformers' AutoTokenizer reads.
    """
    if present := [name for name in HF_FILES if (tokenizer_folder / name).exists()]:
        for name in present:
            shutil.copyfile(tokenizer_folder / name, model_folder / name)
        return
    if (tokenizer_folder / VOCABULARY).exists():
        write_hugging_face_words(model_folder, read_word_tokenizer(tokenizer_folder).vocabulary)
        return
    shutil.copyfile(tokenizer_folder / ENCODER, model_folder / HF_ENCODER)
    shutil.copyfile(tokenizer_folder / MERGES, model_folder / HF_MERGES)
    write_json(
        model_folder / HF_SETTINGS,
        {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
        },
    )


def _read_encoding(encoder_path: Path, merges_path: Path) -> BytePairTokenizer:
    encoder = read_json(encoder_path, "tokens with their ids", OutputError)
    lines = read_text(merges_path, "merges of byte pairs", OutputError).splitlines()
    byte_of = {character: byte for byte, character in byte_characters().items()}

    def spelled_bytes(token: str) -> bytes:
        return bytes(byte_of[character] for character in token)

    tokens = list(byte_of)
    tokens += [line.replace(" ", "", 1) for line in lines if line and not line.startswith("#version")]
    spelled = all(byte_of.keys() >= set(token) for token in tokens)
    if not spelled or encoder != {token: rank for rank, token in enumerate([*tokens, END_OF_TEXT])}:
        raise OutputError(
            f"{encoder_path} and {merges_path} do not belong together, expected ids in this order: the 256 bytes, "
            f"{len(tokens) - 256} merges, {END_OF_TEXT}"
        )
    return BytePairTokenizer(
        name=encoder_path.parent.name,
        pat_str=GPT2_SPLIT_PATTERN,
        mergeable_ranks={spelled_bytes(token): rank for rank, token in enumerate(tokens)},
        special_tokens={END_OF_TEXT: len(tokens)},
    )
