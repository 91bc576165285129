"""Tokens per second of `tokenize_corpus` with GPT-2's tokenizer, beside other ways, and its memory for larger texts.

python benchmarks/tokenizing.py TOKENIZER                        about 3 minutes on 2 idle cores
python benchmarks/tokenizing.py TOKENIZER --megabytes 10 100 2000 --memory

TOKENIZER is a folder with GPT-2's encoder.json and vocab.bpe. The text is that of the sample's generators, written
again and again with other numbers in it. Each way runs in turn, `--rounds` times; the best time of each counts.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

from scratchlm.corpus.documents import count_corpus, read_documents
from scratchlm.sample.corpus import documents
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.protocol import END_OF_TEXT
from scratchlm.tokens.tokenize import tokenize_corpus


def write_text(folder: Path, megabytes: int) -> None:
    """Write a corpus of one file per 100 MB."""
    texts = list(documents().values())
    folder.mkdir()
    written = 0
    while written < megabytes * 1_000_000:
        with (folder / f"{written // 1_000_000:06}.txt").open("w", encoding="utf-8") as file:
            while file.tell() < 100_000_000 and written + file.tell() < megabytes * 1_000_000:
                file.write(f"{file.tell()} {written}\n{texts[file.tell() % len(texts)]}")
            written += file.tell()


def compare(corpus: Path, tokenizer_folder: Path, threads: list[int], rounds: int) -> None:
    """Print M tokens per second of each way."""
    tokenizer = read_tokenizer(tokenizer_folder)
    theirs = ByteLevelBPETokenizer(str(tokenizer_folder / "encoder.json"), str(tokenizer_folder / "vocab.bpe"))
    texts = list(read_documents(corpus))

    def ours(n_threads: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            made = tokenize_corpus(corpus, tokenizer, Path(folder) / "t", 1024, 1024, 0.9, n_threads=n_threads)
            return made.tokens

    ways: dict[str, Callable[[], int]] = {
        "plain loop, encode_to_numpy": lambda: sum(
            len(tokenizer.encode_to_numpy(text, allowed_special={END_OF_TEXT})) for text in texts
        )
    }
    for n in threads:
        ways[f"tokenize_corpus with its count and files, {n} threads"] = lambda n=n: ours(n)  # type: ignore[misc]
        ways[f"tiktoken encode_ordinary_batch, {n} threads"] = lambda n=n: sum(  # type: ignore[misc]
            map(len, tokenizer.encode_ordinary_batch(texts, num_threads=n))
        )
    ways["tokenizers encode_batch, RAYON_NUM_THREADS threads"] = lambda: sum(
        len(encoding.ids) for encoding in theirs.encode_batch(texts)
    )
    best = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            tokens = way()
            best[name] = max(best[name], tokens / (time.perf_counter() - started) / 1e6)
    for name, rate in best.items():
        print(f"{rate:8.2f} M tokens/s  {name}")
    started = time.perf_counter()
    characters = count_corpus(corpus).characters
    print(f"{characters / (time.perf_counter() - started) / 1e6:8.0f} M characters/s  counting alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[50])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="tokenize each size once, in a process of its own")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.corpus:
        (n_threads,) = arguments.threads
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            made = tokenize_corpus(
                arguments.corpus, read_tokenizer(arguments.tokenizer), Path(folder) / "t", 1024, 1024, 0.9,
                n_threads=n_threads,
            )  # fmt: skip
        seconds = time.perf_counter() - started
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{made.tokens:13,} tokens, {n_threads} threads: {seconds:6.1f} s, peak {peak_mib:.0f} MiB")
        return
    for megabytes in arguments.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            write_text(corpus, megabytes)
            print(f"{megabytes} MB")
            if not arguments.memory:
                compare(corpus, arguments.tokenizer, arguments.threads, arguments.rounds)
                continue
            for n in arguments.threads:
                command = [sys.executable, __file__, str(arguments.tokenizer), "--corpus", str(corpus)]
                subprocess.run([*command, "--threads", str(n)], check=True)


if __name__ == "__main__":
    main()
