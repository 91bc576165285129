"""Collecting the corpus: from the embedded sample, the book's story, or the user's own files and URLs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from scratchlm.download.fetch import fetch, opened_source, shown
from scratchlm.download.sources import THE_VERDICT
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.folders import from_root
from scratchlm.sample import corpus as sample_corpus

READ_BYTES = 1 << 20  # a corpus may be larger than memory
NUMBER_DIGITS = 5  # of a document, or as many as the last one needs: order by name is order by number
NAME_CHARACTERS = 50  # of a document's own name that are kept: file systems take 255 bytes
TEXT_SUFFIXES = (".txt", ".md", ".text")


def collect_corpus(source: str | Sequence[str], folder: Path) -> None:
    """Fill `folder` with the documents of `source`: `sample`, `the-verdict`, or files, folders and URLs.

    Raises InputError for a source that is missing, empty or not UTF-8; `folder` is then not written.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        if source == "sample":
            for name, text in sample_corpus.documents().items():
                (temporary / name).write_text(text, encoding="utf-8", newline="")
        elif source == "the-verdict":
            fetch(THE_VERDICT, temporary / THE_VERDICT.name)
        else:
            _collect_own([source] if isinstance(source, str) else source, temporary)


def _collect_own(source: Sequence[str], folder: Path) -> None:
    inputs: list[Path | str] = []
    for item in source:
        if "://" in item:
            inputs.append(item)
            continue
        path = from_root(item)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file())
            if not files:
                raise InputError(f"corpus.source: the folder {item} holds no {', '.join(TEXT_SUFFIXES)} file")
            inputs += files
        elif path.is_file():
            inputs.append(path)
        else:
            raise InputError(
                f"corpus.source: {item} is neither a file nor a folder nor a URL; paths are relative to the "
                "project's folder; `sample` and `the-verdict` are built in"
            )
    digits = max(NUMBER_DIGITS, len(str(len(inputs))))
    for number, text in enumerate(inputs, start=1):
        # The number keeps the user's order and two files of the same name apart.
        own = text if isinstance(text, Path) else Path(re.split("[?#]", text)[0])
        target = folder / f"{number:0{digits}}-{own.stem[:NAME_CHARACTERS]}.txt"
        with opened_source(str(text), {}) as path:
            _copy_text(path, target, shown(text) if isinstance(text, str) else str(text))


def _copy_text(path: Path, target: Path, name: str) -> None:
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    empty, line_ends = True, 0
    try:
        with path.open("rb") as source, target.open("w", encoding="utf-8", newline="") as copy:
            while block := source.read(READ_BYTES):
                if b"\0" in block:
                    raise InputError(
                        f"corpus.source: {name} holds zero bytes, so it is binary or UTF-16: give UTF-8 text"
                    )
                text = decode(block)
                empty = empty and not text.strip()
                copy.write(text)
                line_ends += block.count(b"\n")
            decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = line_ends + error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"corpus.source: {name} is not UTF-8 text (line {line}, byte {error.object[error.start]:#04x}): convert it "
            "first, for example with `iconv -f latin1 -t utf-8`"
        ) from None
    if empty:
        raise InputError(f"corpus.source: {name} is empty: give a text, or leave it out")
