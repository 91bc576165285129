"""Books of Project Gutenberg: what stands between header and licence, and which of them are English."""

from __future__ import annotations

import re
from typing import NamedTuple

from scratchlm.errors import InputError

# The markers since 2002; a long title goes on in the next line. Without closing stars, the line is the marker.
START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE |THIS )?(?:COPYRIGHTED )?PROJECT GUTENBERG"
    r"(?:(?:[^*\n]|\n(?!\s*\n)){0,500}\*\*\*|[^\n]*)",
    re.I | re.M,
)
# Before, the licence stood at the top; for some years it stood at the bottom, after the end of the book.
SMALL_PRINT = re.compile(r"^[ \t]*\*END ?\*? ?THE SMALL PRINT[^\n]*", re.I | re.M)
PLAIN_END = r"^[ \t]*END OF (?:THE |THIS )?(?:COPYRIGHTED )?PROJECT GUTENBERG"
STARRED_END = PLAIN_END.replace("END", r"\*\*\* ?END", 1)
# Before the line with stars often stands one without. Alone it counts only where no line has stars: a book may say it.
END = re.compile(rf"(?:{PLAIN_END}[^\n]*(?:\n[^\n]+){{0,3}}\s+)?{STARRED_END}", re.I | re.M)
OLD_END = re.compile(rf"{PLAIN_END}|^[ \t]*(?:\*\*\* ?)?START: FULL LICENSE", re.I | re.M)
CREDITS = re.compile(
    r"\s*(?:Produced by|E-?text prepared by|Transcribed by"
    # The printed edition, or an address: a story may be transcribed too.
    r"|Transcribed from(?=(?:[^\n]|\n(?!\s*\n))*?(?:\bedition\b|@))"
    r"|This e-?(?:text|book) was (?:produced|prepared)"
    r" (?:by|from))"
    r"[^\n]*(?:\n[^\n]+)*",
    re.I,
)
LANGUAGE = re.compile(r"^Language:[ \t]*(\S[^\n]*)", re.I | re.M)
ENGLISH = re.compile(r"(?:^|[,;/&]|\band\b)\s*(?:English|eng?)\b", re.I)  # in a list of languages
NUMBER = re.compile(r"\[E-?(?:book|text) #(\d+)\]", re.I)
HEADER_CHARACTERS = 10_000  # searched for a language if no marker says where the header ends

WORD = re.compile(r"[^\W\d_]+")
MEASURED_CHARACTERS = 100_000  # of a book without a named language
# No other language has these two words. Their share was 6.5 to 12 % in eleven English books, 4 % in a German libretto
# with its translation, at most 0.2 % in a Dutch and a French book.
ENGLISH_WORDS = frozenset(("the", "and"))
ENGLISH_SHARE = 0.05


class Book(NamedTuple):
    """A text of Project Gutenberg; `number` is the catalogue's, None where the header has none."""

    text: str
    is_english: bool
    number: int | None
    has_header: bool


def decode_book(content: bytes) -> str:
    """Decode UTF-8, or else Windows-1252, a superset of the Latin-1 of older books; line ends become newlines."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_book(text: str, name: str) -> Book:
    """Take a book out of its file: without header, licence and the makers' credits, and with single blank lines.

    A text without a known header is left whole. The language is the header's, or else measured. Raises InputError,
    which calls the file `name`, if it holds two books; those before 2002 are not told apart.
    """
    start = START.search(text)
    after = start.end() if start else 0
    end = END.search(text, after) or OLD_END.search(text, after)
    if holds_two(text, start):
        raise InputError(f"corpus.source: {name} holds two books of Project Gutenberg: make a file of each")
    if not start:
        start = SMALL_PRINT.search(text, 0, end.start() if end else len(text))
    begin = start.end() if start else 0
    body = text[begin : end.start() if end else len(text)]
    while credits := CREDITS.match(body):
        body = body[credits.end() :]
    body = re.sub(r"\n\s*\n", "\n\n", body).strip()
    header = text[: begin or HEADER_CHARACTERS]
    language, number = LANGUAGE.search(header), NUMBER.search(header)
    return Book(
        text=f"{body}\n" if body else "",
        is_english=bool(ENGLISH.search(language[1])) if language else sounds_english(body),
        number=int(number[1]) if number else None,
        has_header=start is not None,
    )


def holds_two(text: str, start: re.Match[str] | None) -> bool:
    """Say whether a book stands before the first marker of a start, or another one after it."""
    if start is None:
        return False
    second = START.search(text, start.end())
    between = text[start.end() : second.start()] if second else ""
    return any((OLD_END.search(text[: start.start()]), *(marker.search(between) for marker in (NUMBER, END, OLD_END))))


def sounds_english(text: str) -> bool:
    """Say whether more than 5 % of a text's words are "the" or "and"; only its beginning is read."""
    words = WORD.findall(text[:MEASURED_CHARACTERS].lower())
    return sum(word in ENGLISH_WORDS for word in words) > ENGLISH_SHARE * len(words)
