"""Collect the texts for pretraining in data/corpus/, one file per document, or files with many."""

from pathlib import Path

from scratchlm.corpus.collect import collect_corpus
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/corpus")
CORPUS = Path("data/corpus")
METRICS = Path("metrics/download_corpus.json")


def main(params: Params) -> None:
    counts = collect_corpus(params.corpus.source, CORPUS, INPUTS)
    write_metrics(METRICS, counts)
    print(", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items()))
