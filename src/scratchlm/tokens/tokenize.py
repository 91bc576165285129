"""Tokenizing the corpus document by document, with memory for one piece of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scratchlm.corpus.documents import count_corpus, document_paths, read_pieces, token_paths
from scratchlm.corpus.ready_tokens import count_ready, read_ready_blocks, split_ready_blocks
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path, write_json
from scratchlm.tokenizer.measures import characters_of_ids
from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer
from scratchlm.tokens.folder import MANIFEST, SPLITS, TokenManifest, n_windows


def tokenize_corpus(
    corpus_folder: Path,
    tokenizer: Tokenizer,
    folder: Path,
    max_length: int,
    stride: int,
    train_fraction: float,
) -> TokenManifest:
    """Tokenize a corpus into `folder`; the first `train_fraction` of its characters is for training.

    Documents are joined by `<|endoftext|>`, which the character counts leave out. `tokens` counts the corpus before
    the split; if the split cuts a token, the two parts have more. Memory is needed for one piece of text only.
    Ready tokens are taken as they are.
    Raises InputError if a split is shorter than one window.
    """
    if ready := token_paths(corpus_folder):
        lengths = characters_of_ids(tokenizer)
        documents, characters, _ = count_ready(ready, lengths)
    else:
        documents, characters = count_corpus(corpus_folder)
    train_characters = int(train_fraction * characters)
    dtype = np.dtype("<u2" if tokenizer.n_vocab <= 1 << 16 else "<u4")
    tokens, n_tokens, n_unknown = 0, dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)

    def encode(text: str) -> np.ndarray:
        return tokenizer.encode_to_numpy(text, allowed_special={END_OF_TEXT}).astype(dtype)

    def encoded() -> Iterator[tuple[tuple[np.ndarray, np.ndarray], int]]:
        """Yield the ids of both splits, and how many tokens both have together."""
        if ready:
            blocks = read_ready_blocks(ready)
            for train_ids, rest_ids in split_ready_blocks(blocks, lengths, train_characters):
                yield (train_ids, rest_ids), len(train_ids) + len(rest_ids)
            return
        for texts in _split_texts(document_paths(corpus_folder), train_characters):
            parts = encode(texts[0]), encode(texts[1])
            yield parts, len(encode("".join(texts))) if all(texts) else sum(map(len, parts))

    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with (temporary / "train.bin").open("wb") as train, (temporary / "validation.bin").open("wb") as rest:
            for parts, n_together in encoded():
                for split, file, ids in zip(SPLITS, (train, rest), parts, strict=True):
                    file.write(ids.tobytes())
                    n_tokens[split] += len(ids)
                    if tokenizer.unk_token is not None:
                        n_unknown[split] += int(np.count_nonzero(ids == tokenizer.unk_token))
                tokens += n_together
        windows = {split: n_windows(n_tokens[split], max_length, stride) for split in SPLITS}
        for split in SPLITS:
            if not windows[split]:
                raise InputError(
                    f"the {split} part of the corpus has {n_tokens[split]} tokens, a window needs "
                    f"windows.max_length + 1 = {max_length + 1}: use a longer corpus, a smaller "
                    "windows.max_length or another windows.train_fraction"
                )
        manifest = TokenManifest(
            documents=documents,
            characters=characters,
            tokens=tokens,
            train_tokens=n_tokens["train"],
            validation_tokens=n_tokens["validation"],
            train_windows=windows["train"],
            validation_windows=windows["validation"],
            train_unknown_percent=100 * n_unknown["train"] / n_tokens["train"],
            validation_unknown_percent=100 * n_unknown["validation"] / n_tokens["validation"],
            vocab_size=tokenizer.n_vocab,
            max_length=max_length,
            stride=stride,
            dtype=dtype.str,
        )
        write_json(temporary / MANIFEST, asdict(manifest))
    return manifest


def _split_texts(paths: list[Path], train_characters: int) -> Iterator[tuple[str, str]]:
    """Yield (training, validation) texts in order; one of the two is empty, except in the piece that is split."""
    position = 0
    for path in paths:
        for piece in read_pieces(path):
            if piece.begins and position:
                yield (END_OF_TEXT, "") if position < train_characters else ("", END_OF_TEXT)
            room = max(0, train_characters - position)
            position += len(piece.text)
            yield piece.text[:room], piece.text[room:]
