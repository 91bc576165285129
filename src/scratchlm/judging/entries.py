"""The answers to judge, as generate_responses wrote them or as somebody edited them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratchlm.assistant.instructions import SURROGATE
from scratchlm.errors import InputError
from scratchlm.judging.verdicts import VARIANTS, Entry

TEXTS = ("instruction", "input", "output")


def read_responses(path: Path) -> list[Entry]:
    """Read data/responses.json; raises InputError, one line that names the first thing wrong in it."""
    way_out = "run `dvc repro --force generate_responses`, which writes it anew"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): {way_out}") from None
    if not isinstance(found, list) or not found:
        shown = "an empty list" if found == [] else f"a {type(found).__name__}"
        raise InputError(f"{path} holds {shown}, wanted a list of entries with their answers: {way_out}")
    problems = list(_problems(found))
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise InputError(f"{path}: {problems[0]}{more}: {way_out}")
    return found


def _problems(entries: list[Any]) -> Iterator[str]:
    ids = set()
    for index, entry in enumerate(entries):
        where = f"entry {index}"
        if not isinstance(entry, dict):
            yield f"{where} is a {type(entry).__name__}, wanted an object"
            continue
        if type(entry.get("id")) not in (int, str):
            yield f"{where}: id is {_shown(entry, 'id')}, wanted a number or a text"
        elif entry["id"] in ids:
            yield f"{where}: id {entry['id']!r} is there twice"
        ids.add(str(entry.get("id")) if isinstance(entry.get("id"), (list, dict)) else entry.get("id"))
        for field in TEXTS:
            yield from _text_problems(entry, field, f"{where}: {field}")
        for variant in VARIANTS:
            answer = entry.get(variant)
            if not isinstance(answer, dict):
                yield f"{where}: {variant} is {_shown(entry, variant)}, wanted an object with text, finish and tokens"
                continue
            for field in ("text", "finish"):
                yield from _text_problems(answer, field, f"{where}: {variant}.{field}")
            if type(answer.get("tokens")) is not int:
                yield f"{where}: {variant}.tokens is {_shown(answer, 'tokens')}, wanted a whole number"


def _text_problems(fields: dict[str, Any], name: str, where: str) -> Iterator[str]:
    text = fields.get(name)
    if not isinstance(text, str):
        yield f"{where} is {_shown(fields, name)}, wanted a text"
    elif SURROGATE.search(text):
        yield f"{where} holds half a character (a lone surrogate), which no file can hold"


def _shown(fields: dict[str, Any], name: str) -> str:
    return f"a {type(fields[name]).__name__}" if name in fields else "missing"
