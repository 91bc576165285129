"""Collect the texts to pretrain on in data/corpus/, one file per document."""

from pathlib import Path

from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import document_paths
from scratchlm.params.schema import Params

CORPUS = Path("data/corpus")


def main(params: Params) -> None:
    collect_corpus(params.corpus.source, CORPUS)
    print(f"{len(document_paths(CORPUS))} documents in {CORPUS}")
