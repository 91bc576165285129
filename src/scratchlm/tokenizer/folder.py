"""A tokenizer on disk: the two files of byte pair encoding (chapter 2.5), a vocabulary of words, or a tokenizer.json.

`encoder.json` maps each token to its id, `vocab.bpe` lists the merges in order of rank. Both write a token
with one printable character per byte, GPT-2's way to keep spaces and control bytes out of text files. In a checkpoint
every tokenizer is a tokenizer.json, which all programs read.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiktoken_ext.openai_public import r50k_pat_str as GPT2_SPLIT_PATTERN

from scratchlm.errors import OutputError
from scratchlm.files.atomic import write_json, write_text
from scratchlm.files.text import read_json, read_text
from scratchlm.tokenizer.bpe import BytePairTokenizer, byte_characters
from scratchlm.tokenizer.byte_level import checked_byte_level, describe_byte_level, write_byte_level
from scratchlm.tokenizer.protocol import END_OF_TEXT, HF_TOKENIZER, UNKNOWN, Tokenizer
from scratchlm.tokenizer.words import (
    VOCABULARY,
    checked_hugging_face_words,
    read_word_tokenizer,
    write_hugging_face_words,
)

ENCODER, MERGES = "encoder.json", "vocab.bpe"  # OpenAI's names
HF_ENCODER, HF_MERGES = "vocab.json", "merges.txt"  # Hugging Face's names for the same two files
HF_SETTINGS = "tokenizer_config.json"  # and for what transformers must know beside the tokenizer
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
    return _byte_pairs(folder.name, _read_merges(folder / ENCODER, folder / MERGES))


def read_hugging_face_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint: tokenizer.json, or where there is none, vocab.json and merges.txt."""
    path = folder / HF_TOKENIZER
    if not path.exists() and (folder / HF_ENCODER).exists():
        return _byte_pairs(folder.name, _read_merges(folder / HF_ENCODER, folder / HF_MERGES))
    description = read_json(path, "a tokenizer", OutputError)
    model = description.get("model") if isinstance(description, dict) else None
    if not isinstance(model, dict) or "merges" not in model:
        return checked_hugging_face_words(description, path)
    merges = model["merges"]
    if _are_spelled(merges) and description == _described(merges):
        # Trained on ids of this reader: the library behind the other knows another version of Unicode.
        return _byte_pairs(folder.name, merges)
    return checked_byte_level(description, path)


def write_hugging_face_tokenizer(tokenizer_folder: Path, model_folder: Path) -> None:
    """Write the tokenizer in data/tokenizer, or that of another checkpoint, into a checkpoint as tokenizer.json."""
    if (tokenizer_folder / HF_TOKENIZER).exists():
        shutil.copyfile(tokenizer_folder / HF_TOKENIZER, model_folder / HF_TOKENIZER)
    elif (tokenizer_folder / VOCABULARY).exists():
        write_hugging_face_words(model_folder, read_word_tokenizer(tokenizer_folder).vocabulary)
    else:
        old = (tokenizer_folder / HF_ENCODER).exists()
        encoder, merges = (HF_ENCODER, HF_MERGES) if old else (ENCODER, MERGES)
        write_byte_level(model_folder, _described(_read_merges(tokenizer_folder / encoder, tokenizer_folder / merges)))


def write_settings(model_folder: Path, tokenizer: Tokenizer, context_length: int) -> None:
    """Write what transformers must know beside the tokenizer.json of a checkpoint."""
    unknown = {} if tokenizer.unk_token is None else {"unk_token": UNKNOWN}
    write_json(
        model_folder / HF_SETTINGS,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": context_length,
            "padding_side": "left",  # so that new tokens follow the text
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            **unknown,
        },
    )


def _read_merges(encoder_path: Path, merges_path: Path) -> list[str]:
    """Return the merges; raise OutputError if a file is damaged, or the ids are not those that follow from them."""
    encoder = read_json(encoder_path, "tokens with their ids", OutputError)
    lines = read_text(merges_path, "merges of byte pairs", OutputError).splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    if not _are_spelled(merges) or encoder != _ids(merges):
        raise OutputError(
            f"{encoder_path} and {merges_path} do not belong together, expected ids in this order: the 256 bytes, "
            f"{len(merges)} merges, {END_OF_TEXT}"
        )
    return merges


def _are_spelled(found: Any) -> bool:
    """Say whether these are merges in the characters that stand for bytes."""
    spelled = set(byte_characters().values()).issuperset
    return isinstance(found, list) and all(
        isinstance(merge, str) and spelled(merge.replace(" ", "", 1)) for merge in found
    )


def _ids(merges: Sequence[str]) -> dict[str, int]:
    """Return token -> id as GPT-2 numbers them: the 256 bytes, what each merge gives, and the end of text."""
    tokens = [*byte_characters().values(), *(merge.replace(" ", "", 1) for merge in merges), END_OF_TEXT]
    return {token: index for index, token in enumerate(tokens)}


def _described(merges: Sequence[str]) -> dict[str, Any]:
    """Return the tokenizer.json of a byte pair encoding with GPT-2's numbers and cuts."""
    return describe_byte_level([*_ids(merges)], merges, [END_OF_TEXT], cut_digits=False)


def _byte_pairs(name: str, merges: Sequence[str]) -> BytePairTokenizer:
    byte_of = {character: byte for byte, character in byte_characters().items()}
    ids = _ids(merges)
    end_id = ids.pop(END_OF_TEXT)
    return BytePairTokenizer(
        name=name,
        pat_str=GPT2_SPLIT_PATTERN,
        mergeable_ranks={bytes(byte_of[character] for character in token): index for token, index in ids.items()},
        special_tokens={END_OF_TEXT: end_id},
    )
