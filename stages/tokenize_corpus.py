"""Tokenize the corpus and cut it into sliding windows for training and validation."""

from dataclasses import asdict
from pathlib import Path

import torch

from scratchlm.corpus.documents import token_paths
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.snapshots import open_snapshots
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.ready import take_tokens
from scratchlm.tokens.tokenize import tokenize_corpus

CORPUS = Path("data/corpus")
TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
METRICS = Path("metrics/tokenize_corpus.json")

NOT_COUNTS = ("max_length", "stride", "dtype", "shards")


def main(params: Params) -> None:
    tokenizer = read_tokenizer(TOKENIZER)
    windows = params.windows
    how = (windows.max_length, windows.stride, windows.train_fraction)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the key of a snapshot holds torch's thread count; these ids are the same for any
    snapshots = open_snapshots("tokenize_corpus", torch.device("cpu"))
    if ready := token_paths(CORPUS):
        manifest = take_tokens(ready, tokenizer, TOKENS, *how)
    else:
        manifest = tokenize_corpus(CORPUS, tokenizer, TOKENS, *how, n_threads=n_threads, snapshots=snapshots)
    write_metrics(METRICS, {key: count for key, count in asdict(manifest).items() if key not in NOT_COUNTS})
    snapshots.finish()
    print(
        f"{manifest.characters:,} characters, {manifest.tokens:,} tokens: {manifest.train_windows:,} windows for "
        f"training, {manifest.validation_windows:,} for validation"
    )
