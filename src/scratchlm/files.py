"""Writing files so that a reader never sees half of one: write beside the target, flush, rename."""

from __future__ import annotations

import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its name when the block succeeds.

    A file or a folder may be created there. If the block raises, it is removed and `target` is untouched.
    An existing target is replaced; replacing a folder is not atomic (the old one is removed first).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # What a killed process left. Nobody else is writing this target: DVC locks stages, `fetch` locks downloads.
    for abandoned in target.parent.glob(f".{glob.escape(target.stem)}.????????{glob.escape(target.suffix)}"):
        _remove(abandoned)
    # The suffix stays last, for the libraries that look at it.
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            if target.exists():
                shutil.rmtree(target)
        else:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with its line ends untouched, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
