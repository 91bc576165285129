"""Collect the texts to pretrain on in data/corpus/, one file per document."""

from pathlib import Path

from scratchlm.corpus import collect_corpus
from scratchlm.documents import document_paths
from scratchlm.params import Params
from scratchlm.stage import run

CORPUS = Path("data/corpus")


def main(params: Params) -> None:
    collect_corpus(params.corpus.source, CORPUS)
    print(f"{len(document_paths(CORPUS))} documents in {CORPUS}")


if __name__ == "__main__":
    run(main)
