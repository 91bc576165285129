"""Tokenize the corpus and cut it into sliding windows for training and validation."""

from dataclasses import asdict
from pathlib import Path

from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.tokenize import tokenize_corpus

CORPUS = Path("data/corpus")
TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
METRICS = Path("metrics/tokenize_corpus.json")

NOT_COUNTS = ("max_length", "stride", "dtype")


def main(params: Params) -> None:
    tokenizer = read_tokenizer(TOKENIZER)
    windows = params.windows
    manifest = tokenize_corpus(CORPUS, tokenizer, TOKENS, windows.max_length, windows.stride, windows.train_fraction)
    write_metrics(METRICS, {key: count for key, count in asdict(manifest).items() if key not in NOT_COUNTS})
    print(
        f"{manifest.characters:,} characters, {manifest.tokens:,} tokens: {manifest.train_windows:,} windows for "
        f"training, {manifest.validation_windows:,} for validation"
    )
