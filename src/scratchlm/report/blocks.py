"""What a section of the page is made of, without a word of HTML, and how figures are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from markupsafe import Markup

MISSING = "-"

Row = Sequence[str]


@dataclass(frozen=True)
class Column:
    """The heading of a column; numbers stand at its right edge, code is set in another font."""

    title: str
    kind: Literal["words", "number", "code"] = "number"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Counts by actual label (row) and predicted label (column)."""

    kind: ClassVar[str] = "matrix"
    title: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    note: str = ""

    def share(self, row: int, column: int) -> float:
        """Return the fraction of a row's messages that got a label."""
        return self.counts[row][column] / max(sum(self.counts[row]), 1)


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, and a sentence that says what it shows."""

    kind: ClassVar[str] = "chart"
    title: str
    svg: Markup
    note: str


@dataclass(frozen=True)
class Key:
    """Which run has which colour in the drawings."""

    kind: ClassVar[str] = "key"
    names: Sequence[str]


@dataclass(frozen=True)
class Side:
    """Blocks beside each other, where the screen is wide enough."""

    kind: ClassVar[str] = "side"
    blocks: Sequence[Chart | Matrix | Table]


@dataclass(frozen=True)
class Tile:
    """One figure in large type."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Tiles:
    """The figures that a reader wants first."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Words:
    """A paragraph; a warning is set apart."""

    kind: ClassVar[str] = "words"
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Image:
    """A picture as a `data:` address."""

    kind: ClassVar[str] = "image"
    title: str
    address: str


@dataclass(frozen=True)
class Fold:
    """Texts that the reader opens, each below its heading."""

    kind: ClassVar[str] = "fold"
    title: str
    parts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answered:
    """One model's answer to an instruction."""

    who: str
    variant: str
    text: str
    end: str
    scores: Sequence[str]


@dataclass(frozen=True)
class Task:
    """An instruction with its reference and what the models answered."""

    kind: ClassVar[str] = "task"
    title: str
    instruction: str
    input: str
    reference: str
    columns: int  # of answers beside each other
    answers: Sequence[Answered]


Block = Table | Matrix | Chart | Key | Side | Tiles | Words | Image | Fold | Task


@dataclass(frozen=True)
class Section:
    """A part of the page; what is missing in it is said below its blocks."""

    id: str
    title: str
    blocks: Sequence[Block]
    missing: Sequence[str] = field(default_factory=list)


def written(value: float | None, form: str, unit: str = "") -> str:
    """Write a figure, or a dash for one that is not there.

    >>> written(98.5765, ".2f", " %"), written(None, ".2f")
    ('98.58 %', '-')
    """
    return MISSING if value is None else f"{value:{form}}{unit}"


def interval(low: float | None, high: float | None, form: str = ".2f") -> str:
    """Write a 95 % interval, or a dash where there is none."""
    return MISSING if low is None or high is None else f"{low:{form}} to {high:{form}}"


def with_interval(value: float | None, low: float | None, high: float | None, form: str = ".2f") -> str:
    """Write a figure with its 95 % interval in brackets, which is left out where there is none.

    >>> with_interval(75.2075, 68.5422, 81.5969), with_interval(100.0, None, None)
    ('75.21 (68.54 to 81.60)', '100.00')
    """
    brackets = "" if low is None or high is None else f" ({interval(low, high, form)})"
    return written(value, form) + brackets
