"""Reading text and JSON with clear errors, and making long text short for messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratchlm.errors import InputError


def read_text(path: Path, wanted: str, problem: type[InputError] = InputError) -> str:
    """Read a file in UTF-8, with its line ends as they are and without a byte order mark.

    Raises `problem`, which says what is wrong with the file and what is `wanted`, such as "a list of instructions".
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise problem(f"{path} is missing, wanted {wanted}") from None
    except OSError as error:
        raise problem(f"{path} cannot be read ({error.strerror}), wanted {wanted}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise problem(f"{path}, line {line}: byte {byte:#04x} is not UTF-8, wanted {wanted}, saved as UTF-8") from None


def read_json(path: Path, wanted: str, problem: type[InputError] = InputError) -> Any:
    """Read a JSON file in UTF-8. Raises `problem` as `read_text` does, also for what is not JSON."""
    text = read_text(path, wanted, problem)
    try:
        return json.loads(text)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise problem(f"{path} is not valid JSON ({reason}), wanted {wanted}")


def one_line(words: object, limit: int) -> str:
    """Squeeze words into one line of valid Unicode of at most `limit` characters."""
    return shorten(" ".join(str(words).split()).encode("utf-8", "replace").decode(), limit)


def shorten(text: str, limit: int) -> str:
    """Cut a text to `limit` characters; one that was cut ends with three dots."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def bullets(problems: Sequence[str], limit: int) -> str:
    """Return the first `limit` problems as lines that follow a message, and how many more there are."""
    more = len(problems) - limit
    lines = [f"  - {problem}" for problem in problems[:limit]] + ([f"  and {more:,} more"] if more > 0 else [])
    return "".join(f"\n{line}" for line in lines)
