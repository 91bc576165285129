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

from scratchlm.errors import InputError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its name when the block succeeds.

    A file or a folder may be created there. If the block raises, it is removed and `target` is untouched.
    An existing target is replaced; replacing a folder is not atomic (the old one is removed first). A link at the
    target is replaced itself: nothing is written where it leads. Raises InputError if a file is where a folder
    should be, or a folder where a file should be, or the target has no name, as "" and "/" have none.
    """
    if not target.name:
        raise InputError(f"got '{target}', which names no file or folder to write: give a name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        blocking = next(parent for parent in target.parents if parent.exists() or parent.is_symlink())
        raise InputError(f"{blocking} is in the way: {target} is to be written in it; move it elsewhere") from None
    # Left by a killed process. No other process writes this target: DVC locks stages, and downloads and exports lock.
    for abandoned in target.parent.glob(f".{glob.escape(target.stem)}.????????{glob.escape(target.suffix)}"):
        _remove(abandoned)
    # The suffix stays at the end, for libraries that look at it.
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix}")
    try:
        yield temporary
        folder = temporary.is_dir()
        if target.exists() and not target.is_symlink() and folder != target.is_dir():
            raise InputError(
                f"{target} is in the way: a {'folder' if folder else 'file'} is to be written there; move it elsewhere"
            )
        if folder:
            _remove(target)
        else:
            flush(temporary)
        temporary.replace(target)
        flush(target.parent)  # so that the new name survives a power cut
    finally:
        _remove(temporary)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
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
