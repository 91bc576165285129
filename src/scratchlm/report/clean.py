"""Texts from models and users as a page can hold them."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


def clean(text: str) -> str:
    """Put a replacement character in place of each character that HTML, or UTF-8, does not allow.

    >>> clean("a\\x00b")
    'a�b'
    """
    return CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
