"""Text out of files and into messages: JSON or a clear error, long lines cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8; raise ValueError if it is none, or is nested deeper than Python can follow."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def one_line(words: object, limit: int) -> str:
    """Squeeze words into one line of valid Unicode of at most `limit` characters."""
    return shorten(" ".join(str(words).split()).encode("utf-8", "replace").decode(), limit)


def shorten(text: str, limit: int) -> str:
    """Cut a text to `limit` characters; one that was cut ends with three dots."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
