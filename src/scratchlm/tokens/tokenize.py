"""Tokenizing the corpus by several threads, with memory for a few pieces of text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchlm.corpus.documents import count_corpus, document_paths
from scratchlm.files.atomic import atomic_path
from scratchlm.stage.interruption import deferred
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer
from scratchlm.tokens.blocks import Block, Place, read_blocks
from scratchlm.tokens.folder import SPLITS, TokenManifest, write_tokens
from scratchlm.tokens.pool import in_order
from scratchlm.tokens.shards import SHARD_TOKENS, ShardWriter, cut_back


def tokenize_corpus(
    corpus_folder: Path,
    tokenizer: Tokenizer,
    folder: Path,
    max_length: int,
    stride: int,
    train_fraction: float,
    *,
    n_threads: int = 1,
    snapshots: Snapshots | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenManifest:
    """Tokenize a corpus into `folder`; the first `train_fraction` of its characters is for training.

    Documents are joined by `<|endoftext|>`, which the character counts leave out. `tokens` counts the corpus before
    the split; if the split cuts a token, the two parts have more. Memory is needed for a few pieces of text per
    thread. With `snapshots`, an interrupted run goes on where it stopped. Neither that nor the number of threads
    changes a byte. Raises InputError if a split is shorter than one window; Interrupted if a stop was requested.
    """
    paths = document_paths(corpus_folder)

    def count() -> int:
        return count_corpus(corpus_folder).characters

    characters = snapshots.once("characters", count) if snapshots else count()
    dtype = np.dtype("<u2" if tokenizer.n_vocab <= 1 << 16 else "<u4")

    def prepare() -> Callable[[Block], Encoded]:
        # tiktoken's regex is for the first thread that uses it: any other took 1.5 times the time with the same one.
        return partial(encode_block, tokenizer=copy(tokenizer), dtype=dtype)

    with atomic_path(folder) as temporary:
        temporary.mkdir()
        # Not in the stage's outs, which DVC deletes before a run.
        work = (snapshots.folder if snapshots and snapshots.are_kept else temporary) / "shards"
        with closing(Tokenizing(work, dtype, shard_tokens, characters, snapshots)) as tokenizing:
            blocks = read_blocks(paths, int(train_fraction * characters), tokenizing.done.place)
            tokenizing.write(in_order(prepare, blocks, n_threads))
        done = tokenizing.done
        manifest = write_tokens(
            temporary,
            {split: writer.shards() for split, writer in zip(SPLITS, tokenizing.writers, strict=True)},
            documents=done.place.documents,
            characters=characters,
            tokens=done.tokens,
            unknown=dict(zip(SPLITS, done.unknown, strict=True)),
            vocab_size=tokenizer.n_vocab,
            max_length=max_length,
            stride=stride,
            dtype=dtype,
        )
        if work.parent == temporary:
            shutil.rmtree(work)
    return manifest


class Encoded(NamedTuple):
    """The ids of a block, for training and for validation, and its end."""

    ids: tuple[np.ndarray, np.ndarray]
    tokens: int  # of both texts together
    unknown: list[int]  # in each
    end: Place


def encode_block(block: Block, tokenizer: Tokenizer, dtype: np.dtype) -> Encoded:
    """Tokenize a block."""

    def encode(text: str) -> np.ndarray:
        return tokenizer.encode_to_numpy(text, allowed_special={END_OF_TEXT}).astype(dtype)

    ids = encode(block.train), encode(block.validation)
    is_cut = block.train and block.validation
    tokens = len(encode(block.train + block.validation)) if is_cut else sum(map(len, ids))
    unknown = [0 if tokenizer.unk_token is None else int(np.count_nonzero(part == tokenizer.unk_token)) for part in ids]
    return Encoded(ids, tokens, unknown, block.end)


@dataclass
class Done:
    """What was tokenized, up to a place in the corpus; pairs are of training and validation."""

    place: Place = field(default_factory=Place)
    tokens: int = 0
    split_tokens: list[int] = field(default_factory=lambda: [0, 0])
    unknown: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, encoded: Encoded) -> None:
        """Count one more block."""
        self.place = encoded.end
        self.tokens += encoded.tokens
        self.split_tokens = [n + len(ids) for n, ids in zip(self.split_tokens, encoded.ids, strict=True)]
        self.unknown = [n + more for n, more in zip(self.unknown, encoded.unknown, strict=True)]


class Tokenizing:
    """A running tokenization: the shards in the folder `work`, and what is done.

    A snapshot is what is done alone: the shards only grow, and are cut back to it.
    """

    def __init__(
        self, work: Path, dtype: np.dtype, shard_tokens: int, characters: int, snapshots: Snapshots | None
    ) -> None:
        self.characters, self.snapshots = characters, snapshots
        self.done = Done()
        if snapshots and (saved := snapshots.load()):
            notes = saved[1]
            self.done = Done(**{**notes, "place": Place(*notes["place"])})
            counts = zip(SPLITS, self.done.split_tokens, strict=True)
            if all(cut_back(work, split, dtype, shard_tokens, n_tokens) for split, n_tokens in counts):
                print(f"resuming after {self.position()}")
            else:
                print(f"{work} is damaged, or DVC has stored it: starting again", file=sys.stderr)
                self.done = Done()
        if self.done == Done():
            # What is left there may be in DVC's cache by another name: never write into it.
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        self.writers = [
            ShardWriter(work, split, dtype, shard_tokens, n_tokens)
            for split, n_tokens in zip(SPLITS, self.done.split_tokens, strict=True)
        ]

    def write(self, results: Generator[Encoded, None, None]) -> None:
        """Write the ids of all blocks."""
        bar = progress_bar(
            self.characters, "tokenize_corpus", "char", unit_scale=True, initial=self.done.place.characters
        )
        with deferred(), closing(results), bar:
            for encoded in results:
                for writer, ids in zip(self.writers, encoded.ids, strict=True):
                    writer.write(ids)
                self.done.add(encoded)
                bar.update(encoded.end.characters - bar.n)
                self.keep(ended=False)
            self.keep(ended=True)

    def keep(self, ended: bool) -> None:
        """Save a snapshot if one is due, and stop if that was requested."""
        if self.snapshots:
            self.snapshots.keep(self.contents, self.position(), ended)

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the contents of a snapshot, once all that they count is on the disk."""
        for writer in self.writers:
            writer.flush()
        return {}, asdict(self.done)

    def position(self) -> str:
        return f"{self.done.place.characters:,} of {self.characters:,} characters"

    def close(self) -> None:
        """Close the shards."""
        for writer in self.writers:
            writer.close()
