"""Collect the texts for pretraining in data/corpus/, one file per document."""

from pathlib import Path

from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import count_corpus
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/corpus")
CORPUS = Path("data/corpus")
METRICS = Path("metrics/download_corpus.json")


def main(params: Params) -> None:
    collect_corpus(params.corpus.source, CORPUS, INPUTS)
    documents, characters = count_corpus(CORPUS)
    write_metrics(METRICS, {"documents": documents, "characters": characters})
    print(f"documents: {documents:,}, characters: {characters:,}")
