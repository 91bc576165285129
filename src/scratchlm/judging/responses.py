"""Responses: data/responses.json as generate_responses wrote it, or as a user edited it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scratchlm.assistant.instructions import FIELDS, SURROGATE, VARIANTS, AnsweredEntry
from scratchlm.errors import OutputError
from scratchlm.files.text import read_json

WANTED = "a list of instructions with the answers of both models"
TEXT = (str,), "a text"
ENTRY_FIELDS: dict[str, Any] = {
    "id": ((int, str), "a number or a text"),
    **dict.fromkeys(FIELDS, TEXT),
    **dict.fromkeys(VARIANTS, ((dict,), "an object with text, finish and tokens")),
}
ANSWER_FIELDS = {"text": TEXT, "finish": TEXT, "tokens": ((int,), "a whole number")}


def read_responses(path: Path) -> list[AnsweredEntry]:
    """Read data/responses.json; raises OutputError, one line that names the first thing wrong in it."""
    found = read_json(path, WANTED, OutputError)
    if not isinstance(found, list) or not found:
        shown = "an empty list" if found == [] else f"a {type(found).__name__}"
        raise OutputError(f"{path} holds {shown}, wanted {WANTED}")
    problems = list(_problems(found))
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise OutputError(f"{path}: {problems[0]}{more}")
    return found


def _problems(entries: list[Any]) -> Iterator[str]:
    ids: set[int | str] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            yield f"entry {index} is a {type(entry).__name__}, wanted an object"
            continue
        yield from _problems_of_fields(entry, ENTRY_FIELDS, f"entry {index}: ")
        key = entry.get("id")
        if isinstance(key, int | str):
            if key in ids:
                yield f"entry {index}: id {key!r} is there twice"
            ids.add(key)


def _problems_of_fields(fields: dict[str, Any], wanted: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, (kinds, what) in wanted.items():
        value = fields.get(name)
        if type(value) not in kinds:
            shown = f"a {type(value).__name__}" if name in fields else "missing"
            yield f"{where}{name} is {shown}, wanted {what}"
        elif isinstance(value, dict):
            yield from _problems_of_fields(value, ANSWER_FIELDS, f"{where}{name}.")
        elif isinstance(value, str) and SURROGATE.search(value):
            yield f"{where}{name} holds half a character (a lone surrogate), which no file can hold"
