"""The cells of tables that have a column for each run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scratchlm.params.file import show_value
from scratchlm.report.blocks import MISSING, Column, Table, with_interval, written
from scratchlm.report.run import Run

HASH_CHARS = 12
PLACES = (".source", ".start")  # params that may name a user's files
OUTSIDE = ("/", "~", "..")  # beginnings of paths that lead out of the project
QUERY = re.compile(r"(://[^\s'\"?#]*)[?#][^\s'\"]*")

Cell = Callable[[Run], str]


def by_run(runs: Sequence[Run], title: str, rows: Sequence[tuple[str, Cell]], note: str = "") -> Table:
    """Return a table with a column for each run, named where there are several; rows that no run has are left out."""
    cells = [(label, *(cell(run) for run in runs)) for label, cell in rows]
    shown = [row for row in cells if any(cell not in ("", MISSING) for cell in row[1:])]
    names = [run.name for run in runs] if len(runs) > 1 else [""]
    return Table(title, [Column("", "words"), *map(Column, names)], shown, note)


def count(name: str) -> Cell:
    """Return a cell with a whole number of the metrics."""
    return lambda run: written(run.figure(name), ",")


def figure(name: str, form: str, unit: str = "") -> Cell:
    """Return a cell with a figure of the metrics."""
    return lambda run: written(run.figure(name), form, unit)


def from_to(stage: str, key: str, form: str) -> Cell:
    """Return a cell with a figure before and after a training."""

    def cell(run: Run) -> str:
        start, end = run.figure(f"{stage}.initial_{key}"), run.figure(f"{stage}.{key}")
        return MISSING if end is None else written(end, form) if start is None else f"{start:{form}} → {end:{form}}"

    return cell


def estimate(name: str, value: str = "mean", prefix: str = "") -> Cell:
    """Return a cell with a mean and its 95 % interval."""

    def cell(run: Run) -> str:
        found = run.figure(name)
        if not isinstance(found, dict) or found.get(value) is None:
            return MISSING
        return with_interval(found[value], found.get(f"{prefix}ci95_low"), found.get(f"{prefix}ci95_high"))

    return cell


def param(key: str) -> Cell:
    """Return a cell with a param, as YAML has it."""
    return lambda run: value_of(run.params, key)


def hash_of(path: str) -> Cell:
    """Return a cell with the beginning of the hash of a stage's output."""
    return lambda run: run.hashes.get(path, MISSING)[:HASH_CHARS]


def pin(name: str) -> Cell:
    """Return a cell with the version of a package."""
    return lambda run: run.pins.get(name, MISSING)


def value_of(params: Mapping[str, object], key: str) -> str:
    """Return a param as YAML has it, in one short line, or a dash.

    URLs are without user, password and query, and of a user's own files that are not in the project the name is shown.
    """
    if key not in params:
        return MISSING
    value = params[key]
    if key.endswith(PLACES):
        value = [_place(one) for one in value] if isinstance(value, list) else _place(value)
    return QUERY.sub(r"\1", show_value(value)).strip("'")


def _place(value: object) -> object:
    return Path(value).name if isinstance(value, str) and value.startswith(OUTSIDE) else value


def splits(stage: str) -> Cell:
    """Return a cell with the sizes of train, validation and test."""

    def cell(run: Run) -> str:
        found = [run.figure(f"{stage}.{split}") for split in ("train", "validation", "test")]
        return MISSING if None in found else " / ".join(f"{number:,}" for number in found)

    return cell
