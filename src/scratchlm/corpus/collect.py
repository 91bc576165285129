"""Collecting the corpus from the built-in sample, the book's story, or the user's own files and URLs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from scratchlm.download.fetch import fetch, opened_url, shown
from scratchlm.download.sources import THE_VERDICT
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.inputs import own_paths
from scratchlm.sample import corpus as sample_corpus

READ_BYTES = 1 << 20  # a corpus may be larger than memory
NUMBER_DIGITS = 5  # of a document, more if the last one needs them: sorted by name is sorted by number
NAME_CHARACTERS = 50  # kept of a document's own name: file systems allow 255 bytes
TEXT_SUFFIXES = (".txt", ".md", ".text")


def collect_corpus(source: str | Sequence[str], folder: Path, inputs: Path) -> None:
    """Fill `folder` with the documents of `source`: `sample`, `the-verdict`, or files, folders and URLs.

    `inputs` is where a user's own files are tracked (see `own_paths`). Raises InputError for a source that is missing,
    empty or not UTF-8, and then does not write `folder`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        if source == "sample":
            for name, text in sample_corpus.documents().items():
                (temporary / name).write_text(text, encoding="utf-8", newline="")
        elif source == "the-verdict":
            fetch(THE_VERDICT, temporary / THE_VERDICT.name)
        else:
            _collect_own([source] if isinstance(source, str) else source, temporary, inputs)


def _collect_own(source: Sequence[str], folder: Path, inputs: Path) -> None:
    texts = _own_texts(source, inputs)
    digits = max(NUMBER_DIGITS, len(str(len(texts))))
    for number, text in enumerate(texts, start=1):
        # The number keeps the user's order, and separates files of the same name.
        name = text if isinstance(text, Path) else Path(re.split("[?#]", text)[0])
        target = folder / f"{number:0{digits}}-{name.stem[:NAME_CHARACTERS]}.txt"
        if isinstance(text, Path):
            _copy_text(text, target, str(text))
        else:
            with opened_url(text) as path:
                _copy_text(path, target, shown(text))


def _own_texts(source: Sequence[str], inputs: Path) -> list[Path | str]:
    """Return the user's files, those in folders, and URLs, in the given order."""
    named = list(dict.fromkeys(item for item in source if "://" not in item))
    paths = dict(zip(named, own_paths(named, inputs, "download_corpus"), strict=True))
    texts: list[Path | str] = []
    for item in source:
        if item not in paths:
            texts.append(item)
            continue
        path = paths[item]
        files = _texts_in(path) if path.is_dir() else [path]
        if not files:
            raise InputError(f"corpus.source: the folder {item} holds no {', '.join(TEXT_SUFFIXES)} file")
        if not files[0].is_file():  # reading a pipe might never end
            raise InputError(
                f"corpus.source: {item} is neither a file nor a folder nor a URL; paths are relative to the "
                "project's folder; `sample` and `the-verdict` are built in"
            )
        texts += files
    return texts


def _texts_in(folder: Path) -> list[Path]:
    """List the text files of a folder and its subfolders, sorted.

    Linked subfolders are left out, as DVC does not follow them. So are hidden ones: .dvcignore names Jupyter's.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in TEXT_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parent.parts)
    )


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
