"""Texts of any content in a code block of a Markdown page, each beside its label."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

LABEL_COLUMNS = 13
TEXT_COLUMNS = 87  # with the label 100, what a viewer shows of a block without scrolling
LINE_END = re.compile("\r\n|\r|\n")


def labelled(label: str, text: str) -> Iterator[str]:
    """Yield the lines of a text, wrapped, beside its label; characters that do not show are written as escapes.

    No line can end a block that begins with three backticks: it begins with the label, or with more blanks than a
    fence may have.
    """
    for line in LINE_END.split(text):
        chars = line.expandtabs(4)
        visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in chars)
        for piece in textwrap.wrap(visible, TEXT_COLUMNS, break_on_hyphens=False) or [""]:
            yield f"{label:{LABEL_COLUMNS}}{piece}".rstrip()
            label = ""
