"""Collecting the corpus from the built-in sample, the book's story, or the user's own files and URLs."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from scratchlm.corpus.books import decode_book, read_book
from scratchlm.corpus.documents import TOKENS, count_corpus, read_pieces
from scratchlm.corpus.ready_tokens import TOKEN_SUFFIXES, copy_tokens
from scratchlm.corpus.rows import ROW_SUFFIXES, read_rows
from scratchlm.download.fetch import fetch, opened_url, shown
from scratchlm.download.sources import THE_VERDICT
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.inputs import own_paths
from scratchlm.sample import corpus as sample_corpus
from scratchlm.stage.progress import progress_bar

READ_BYTES = 1 << 20  # a corpus may be larger than memory
NUMBER_DIGITS = 5  # of a document, more if the last one needs them: sorted by name is sorted by number
NAME_CHARACTERS = 50  # kept of a document's own name: file systems allow 255 bytes
TEXT_SUFFIXES = (".txt", ".md", ".text")
GUTENBERG = "gutenberg:"  # before a file, folder or URL
MOST_BOOK_BYTES = 1 << 28  # the longest books have some megabytes


class Item(NamedTuple):
    """One file or URL of the user's; a book is one of Project Gutenberg's."""

    place: Path | str
    is_book: bool

    @property
    def suffix(self) -> str:
        """The suffix that says what is in it: of rows or of ready tokens, or .txt for any other."""
        known = () if self.is_book else (*ROW_SUFFIXES, *TOKEN_SUFFIXES)
        return next((suffix for suffix in known if self.name.lower().endswith(suffix)), ".txt")

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        place = self.place
        return place.name if isinstance(place, Path) else PurePosixPath(re.split("[?#]", place)[0]).name

    @property
    def shown(self) -> str:
        """What a message calls it."""
        return str(self.place) if isinstance(self.place, Path) else shown(self.place)


def collect_corpus(source: str | Sequence[str], folder: Path, inputs: Path) -> dict[str, int]:
    """Fill `folder` with the documents of `source`: `sample`, `the-verdict`, or files, folders and URLs.

    A text is a file of its own; files of rows and of ready tokens are copied, after a check of each row and id. From
    what is named after `gutenberg:`, English books alone are taken. `inputs` is where a user's own files are tracked
    (see `own_paths`). Returns the counts of documents, of characters or tokens, and of what was left out. Raises
    InputError for a source that is missing, empty or damaged, and then does not write `folder`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        if source == "sample":
            for name, text in sample_corpus.documents().items():
                (temporary / name).write_text(text, encoding="utf-8", newline="")
        elif source == "the-verdict":
            fetch(THE_VERDICT, temporary / THE_VERDICT.name)
        else:
            return _collect_own([source] if isinstance(source, str) else source, temporary, inputs)
        return count_corpus(temporary)._asdict()


def _collect_own(source: Sequence[str], folder: Path, inputs: Path) -> dict[str, int]:
    items = _own_items(source, inputs)
    ready = {item.suffix in TOKEN_SUFFIXES: item for item in items}
    if len(ready) == 2:
        raise InputError(
            f"corpus.source: {ready[True].shown} holds ready token ids, {ready[False].shown} holds text: give one or "
            "the other"
        )
    digits = max(NUMBER_DIGITS, len(str(len(items))))
    counts: Counter[str] = Counter()
    before: Path | None = None  # the file of tokens before this one
    numbers: set[int] = set()  # of books: the same one often comes in several encodings
    for number, item in enumerate(items, start=1):
        # The number keeps the user's order, and separates files of the same name.
        stem = f"{number:0{digits}}-{_stem(item)}"
        with _opened(item) as path:
            if item.is_book:
                counts += _take_book(path, folder / f"{stem}.txt", item.shown, numbers)
            elif item.suffix in TOKEN_SUFFIXES:
                target = folder / f"{stem}{TOKENS}"
                counts += Counter(copy_tokens(path, target, item.shown, before)._asdict())
                before = target
            elif item.suffix in ROW_SUFFIXES:
                counts += _copy_rows(path, folder / f"{stem}{item.suffix}", item.shown)
            else:
                counts += _copy_text(path, folder / f"{stem}.txt", item.shown)
    if not counts["documents"]:
        raise InputError("corpus.source: what `gutenberg:` names holds no English book")
    return dict(counts)


def _stem(item: Item) -> str:
    name = item.name
    stem = name[: -len(item.suffix)] if name.lower().endswith(item.suffix) else PurePosixPath(name).stem
    return stem[:NAME_CHARACTERS]


@contextmanager
def _opened(item: Item) -> Iterator[Path]:
    if isinstance(item.place, Path):
        yield item.place
    else:
        with opened_url(item.place) as path:
            yield path


def _own_items(source: Sequence[str], inputs: Path) -> list[Item]:
    """Return the user's files, those in folders, and URLs, in the given order."""
    places = [item.removeprefix(GUTENBERG) for item in source]
    if "" in source:
        raise InputError("corpus.source: one of the sources is empty: give a file, a folder or a URL, or leave it out")
    if "" in places:
        raise InputError(f"corpus.source: {GUTENBERG} names nothing: give a folder, as in {GUTENBERG}{inputs}/books")
    named = list(dict.fromkeys(place for place in places if "://" not in place))
    paths = dict(zip(named, own_paths(named, inputs, "download_corpus"), strict=True))
    items: list[Item] = []
    for item, place in zip(source, places, strict=True):
        is_book = item.startswith(GUTENBERG)
        if place not in paths:
            items.append(Item(place, is_book))
            continue
        path = paths[place]
        suffixes = TEXT_SUFFIXES if is_book else (*TEXT_SUFFIXES, *ROW_SUFFIXES, *TOKEN_SUFFIXES)
        files = _files_in(path, suffixes) if path.is_dir() else [path]
        if not files:
            raise InputError(f"corpus.source: the folder {place} holds no {', '.join(suffixes)} file")
        if not files[0].is_file():  # reading a pipe might never end
            raise InputError(
                f"corpus.source: {place} is neither a file nor a folder nor a URL; paths are relative to the "
                "project's folder; `sample` and `the-verdict` are built in"
            )
        items += [Item(file, is_book) for file in files]
    return items


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a folder and its subfolders that end with one of the suffixes, sorted.

    Linked subfolders are left out, as DVC does not follow them. So are hidden ones, as .dvcignore names Jupyter's, and
    the `._a.txt` that macOS puts beside `a.txt` on other disks.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(suffixes)
        and path.is_file()
        and not path.name.startswith("._")
        and not any(part.startswith(".") for part in path.relative_to(folder).parent.parts)
    )


def _take_book(path: Path, target: Path, name: str, numbers: set[int]) -> Counter[str]:
    size_bytes = path.stat().st_size
    if size_bytes > MOST_BOOK_BYTES:
        raise InputError(f"corpus.source: {name} has {size_bytes:,} bytes, no book has more than {MOST_BOOK_BYTES:,}")
    content = path.read_bytes()
    if b"\0" in content:
        raise InputError(f"corpus.source: {name} holds zero bytes, so it is no book in UTF-8 or Latin-1: leave it out")
    book = read_book(decode_book(content), name)
    if not book.text:
        return Counter(books_without_text=1)
    if not book.is_english:
        return Counter(books_not_english=1)
    if book.number in numbers:
        return Counter(books_doubled=1)
    if book.number is not None:
        numbers.add(book.number)
    target.write_text(book.text, encoding="utf-8", newline="")
    taken = Counter(documents=1, characters=len(book.text), books=1)
    return taken if book.has_header else taken + Counter(books_without_header=1)


def _copy_rows(path: Path, target: Path, name: str) -> Counter[str]:
    """Copy a file and read every row of the copy, which can no longer change."""
    with (
        path.open("rb") as source,
        target.open("wb") as copy,
        progress_bar(path.stat().st_size, f"copy {path.name}", "B", unit_scale=True) as bar,
    ):
        while block := source.read(READ_BYTES):
            copy.write(block)
            bar.update(len(block))
    documents, characters, blank = 0, 0, 0
    with progress_bar(None, f"check {path.name}", "row", unit_scale=True) as bar:
        for text in read_rows(target, f"corpus.source: {name}"):
            bar.update()
            documents += bool(text)
            blank += not text
            characters += len(text) - text.count("\r\n")  # which is read as one
    if not documents:
        raise InputError(f"corpus.source: {name} has no row with text: give one, or leave it out")
    return Counter(documents=documents, characters=characters, rows_without_text=blank)


def _copy_text(path: Path, target: Path, name: str) -> Counter[str]:
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
    return Counter(documents=1, characters=sum(len(piece.text) for piece in read_pieces(target)))
