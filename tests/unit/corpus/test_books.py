"""Books of Project Gutenberg: their headers since the beginning, their languages, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import document_paths
from scratchlm.errors import InputError

INPUTS = Path("inputs/corpus")
STORY = "THE MILL\n\nby A. Miller\n\nThe mill stood by the river, and the wheel turned all day.\n\nIt was old."
HEADER = """The Project Gutenberg eBook of The Mill

This ebook is for the use of anyone anywhere.

Title: The Mill

Release date: June 1, 1998 [eBook #{number}]

{language}Credits: A. Volunteer

"""
NEW = "*** START OF THE PROJECT GUTENBERG EBOOK THE MILL ***\n"
NEW_END = "\n\n*** END OF THE PROJECT GUTENBERG EBOOK THE MILL ***\n\nUpdated editions will replace the previous one.\n"
SMALL_PRINT = "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here? You know: lawyers.\n"
FRENCH = "Le moulin était près de la rivière, et la roue tournait tout le jour. " * 20
ENGLISH = "The mill was near the river, and the wheel turned all the day. " * 20


def book(
    body: str = STORY, language: str = "Language: English\n\n", start: str = NEW, end: str = NEW_END, number: int = 7
) -> str:
    return HEADER.format(number=number, language=language) + start + "\n\n" + body + end


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs/corpus/books").mkdir(parents=True)
    return tmp_path


def shelve(**books: str | bytes) -> dict[str, int]:
    """Collect a folder of these files."""
    for name, content in books.items():
        path = INPUTS / "books" / f"{name}.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return collect_corpus(["gutenberg:inputs/corpus/books"], Path("data/corpus"), INPUTS)


def taken() -> list[str]:
    return [path.read_bytes().decode() for path in document_paths(Path("data/corpus"))]


@pytest.mark.parametrize(
    "content",
    [
        book(),
        book().replace("\n", "\r\n"),
        "\ufeff" + book(),
        book(
            start="*** START OF THIS PROJECT GUTENBERG EBOOK THE MILL ***",
            end=NEW_END.replace("THE PROJECT", "THIS PROJECT"),
        ),
        book(start="***START OF THE PROJECT GUTENBERG EBOOK THE MILL***", end=NEW_END.replace("*** END", "***END")),
        book(start="*** START OF THIS PROJECT GUTENBERG ETEXT, THE MILL\nTHAT STOOD BY THE RIVER ***"),
        book(start="*** START OF THE PROJECT GUTENBERG EBOOK THE MILL"),
        book(start=NEW + "\n\nProduced by A. Volunteer and the\nDistributed Proofreaders\n\nE-text prepared by B\n"),
        book(end="\n\n\nEnd of Project Gutenberg's The Mill, by A. Miller\n" + NEW_END),
        book(end="\n\nEnd of The Project Gutenberg Etext of The Mill"),
        book(
            end="\n\nEnd of the Project Gutenberg EBook of The Mill That Stood by the\nRiver, by A. Miller\n" + NEW_END
        ),
        book(end="\n"),
        book(end="\n\n*** START: FULL LICENSE ***\n\nTHE FULL PROJECT GUTENBERG LICENSE"),
        book(start=SMALL_PRINT + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"),
        book(start=SMALL_PRINT + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.12.12.00*END*\n"),
        book(end=NEW_END + SMALL_PRINT + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n"),
        book(STORY.replace("\n\n", "\n \n\n\n\n")),
    ],
)
def test_only_the_book_is_left_of_its_file(content: str) -> None:
    assert shelve(mill=content) == {"documents": 1, "characters": len(STORY) + 1, "books": 1}
    assert taken() == [STORY + "\n"]


@pytest.mark.parametrize(
    "body",
    [
        "It began.\n\nEnd of Project Gutenberg's first year, they said.\n\nIt went on.",
        "Transcribed from the Arabic, the tale was told to many.\n\nIt went on.",
    ],
)
def test_a_book_may_have_words_of_the_makers(body: str) -> None:
    shelve(mill=book(body))
    assert taken() == [f"{body}\n"]


@pytest.mark.parametrize(
    "credit",
    [
        "Transcribed from the 1903 Mill and Co. edition by A. Volunteer",
        "Transcribed from the first printing by\nA. Volunteer, email a@example.org",
        "Transcribed by A. Volunteer",
    ],
)
def test_the_makers_credits_are_cut(credit: str) -> None:
    shelve(mill=book(f"{credit}\n\n{STORY}"))
    assert taken() == [f"{STORY}\n"]


OLD = SMALL_PRINT + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"


@pytest.mark.parametrize(
    "first", [book(), book(end="\n\n"), book(start=OLD, end="\n\nEnd of The Project Gutenberg Etext of The Mill\n\n")]
)
def test_two_books_in_one_file_are_refused(first: str) -> None:
    with pytest.raises(InputError, match=r"two\.txt holds two books of Project Gutenberg: make a file of each"):
        shelve(two=first + book(number=8))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-8-sig"])
def test_older_encodings_are_read(encoding: str) -> None:
    shelve(mill=book(STORY + " Café").encode(encoding))
    assert taken()[0].endswith("Café\n")


@pytest.mark.parametrize(
    ("content", "is_english"),
    [
        (book(language="Language: English\r\n"), True),
        (book(language="Language: English, Middle (1100-1500)\n"), True),
        (book(FRENCH, language="Language: English\n"), True),  # the header is trusted
        (book(FRENCH, language="Language: en\n"), True),
        (book(FRENCH, language="Language: Latin, English\n"), True),
        (book(FRENCH, language="Language: Latin and English\n"), True),
        (book(ENGLISH, language="Language: Enga\n"), False),
        (book(ENGLISH, language="Language: French\n"), False),
        (book(ENGLISH, language=""), True),
        (book(FRENCH, language=""), False),
        (book("0123 4567", language=""), False),
        (book("Language: French\n\n" + ENGLISH, language=""), True),  # in the book itself
        (ENGLISH, True),
        (FRENCH, False),
    ],
)
def test_the_language_is_the_header_s_or_measured(content: str, is_english: bool) -> None:
    counts = shelve(a=book(number=1), b=content)
    assert counts["books"] == 1 + is_english
    assert counts.get("books_not_english", 0) == 1 - is_english


def test_what_is_left_out_is_counted() -> None:
    counts = shelve(
        a=book(number=1), b=book(FRENCH, "Language: French\n"), c=book("", number=2), d=ENGLISH, e=book(number=1)
    )
    assert counts["documents"] == counts["books"] == 2
    assert {name: count for name, count in counts.items() if name.startswith("books_")} == {
        "books_not_english": 1,
        "books_without_text": 1,
        "books_without_header": 1,
        "books_doubled": 1,
    }
    assert [path.name for path in document_paths(Path("data/corpus"))] == ["00001-a.txt", "00004-d.txt"]


def test_without_the_word_gutenberg_a_file_stays_as_it_is() -> None:
    Path("inputs/corpus/books/a.txt").write_text(book(FRENCH))
    assert collect_corpus(["inputs/corpus/books"], Path("data/corpus"), INPUTS)["documents"] == 1
    assert taken() == [book(FRENCH)]


def test_books_stand_beside_other_texts_and_a_single_file_is_one_too() -> None:
    Path("inputs/corpus/a.txt").write_text(book())
    Path("inputs/corpus/b.jsonl").write_text('{"text": "a row"}\n')
    source = ["inputs/corpus/b.jsonl", "gutenberg:inputs/corpus/a.txt"]
    counts = collect_corpus(source, Path("data/corpus"), INPUTS)
    assert counts == {"documents": 2, "characters": 5 + len(STORY) + 1, "books": 1}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gutenberg:", r"gutenberg: names nothing: give a folder, as in gutenberg:inputs/corpus/books"),
        ("gutenberg:none", r"none is neither a file nor a folder nor a URL"),
        ("gutenberg:inputs/corpus/books", r"the folder inputs/corpus/books holds no \.txt, \.md, \.text file"),
        ("gutenberg:french.txt", r"what `gutenberg:` names holds no English book"),
        ("gutenberg:binary.txt", r"binary\.txt holds zero bytes, so it is no book in UTF-8 or Latin-1: leave it out"),
    ],
)
def test_what_holds_no_books_is_refused(source: str, message: str) -> None:
    Path("french.txt").write_text(FRENCH)
    Path("binary.txt").write_bytes(b"PK\0\1")
    with pytest.raises(InputError, match=message):
        collect_corpus([source], Path("data/corpus"), INPUTS)
    assert not Path("data/corpus").exists()
