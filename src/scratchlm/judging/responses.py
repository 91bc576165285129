"""Responses: data/responses.json as generate_responses wrote it, or as a user edited it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from scratchlm.assistant.instructions import SURROGATE, AnsweredEntry
from scratchlm.errors import OutputError
from scratchlm.files.text import read_json

WANTED = "a list of instructions with the answers of both models"


def read_responses(path: Path) -> list[AnsweredEntry]:
    """Read data/responses.json; raises OutputError, one line that names the first thing wrong in it."""
    found = read_json(path, WANTED, OutputError)
    try:
        entries = TypeAdapter(list[AnsweredEntry]).validate_python(found, strict=True)
    except ValidationError as error:
        first, *others = error.errors()
        place = ".".join(map(str, first["loc"])) or "the file"
        more = f" (and {len(others)} more problems)" if others else ""
        raise OutputError(f"{path}: {place}: {first['msg']}{more}, wanted {WANTED}") from None
    faults = {
        "an empty list": not entries,
        "two entries with one id": len({entry["id"] for entry in entries}) < len(entries),
        "half a character (a lone surrogate)": SURROGATE.search(json.dumps(found, ensure_ascii=False)),
    }
    for fault, is_there in faults.items():
        if is_there:
            raise OutputError(f"{path} holds {fault}, wanted {WANTED}")
    return entries
