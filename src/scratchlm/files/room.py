"""Clear errors for a disk that is full or cannot be written: where, and how much room is needed."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchlm.errors import InputError

# No space left, quota exceeded, and file larger than the file system or a limit allows.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_room(folder: Path, needed_bytes: int | None, hint: str = "") -> None:
    """Raise InputError if the disk has no room for what is about to be written."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes is not None and needed_bytes > free_bytes:
        raise InputError(f"no space left in {folder}: {needed_bytes:,} bytes are needed, {free_bytes:,} are free{hint}")


@contextmanager
def writable(folder: Path, needed_bytes: int | None, hint: str = "") -> Iterator[None]:
    """Turn the system's errors for a full or read-only disk into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise InputError(f"cannot write {error.filename or folder}: {error.strerror}{hint}") from error
        needed = f"{needed_bytes:,} bytes are" if needed_bytes else "more is"
        raise InputError(f"no space left in {folder}: {needed} needed ({error.strerror}){hint}") from error
