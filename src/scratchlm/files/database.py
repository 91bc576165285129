"""An SQLite file that many processes share: made where it is missing, begun anew where it is spoilt."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from filelock import FileLock

BUSY_TIMEOUT_S = 30.0  # for another process's write, which takes milliseconds
BESIDE = ("", "-wal", "-shm")  # the file, and SQLite's own beside it while it is open


def open_database(path: Path, table: str, name: str) -> sqlite3.Connection:
    """Open a file for all threads of this process, with the statement that makes its `table` where it has none.

    Every statement is a transaction of its own. A file with a page that cannot be read is renamed to end with
    `.spoilt`, which one line on standard error says under `name`. Raises OSError or sqlite3.Error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may do the same: switching to the write-ahead log does not wait for it.
    with FileLock(f"{path}.lock", timeout=BUSY_TIMEOUT_S):
        if not is_sound(path):
            for old, new in zip(files_of(path), files_of(path, ".spoilt"), strict=True):
                if old.exists():
                    old.replace(new)
            print(f"{name}: {path} is spoilt, set aside as {path.name}.spoilt and begun anew", file=sys.stderr)
        database = connect(path)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last rows, never the file
            database.execute(table)
        except BaseException:
            database.close()
            raise
    return database


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def is_sound(path: Path) -> bool:
    """Whether every page of the file can be read."""
    with closing(connect(path)) as database:
        try:
            return bool(database.execute("PRAGMA quick_check").fetchall() == [("ok",)])
        except sqlite3.OperationalError:  # the machine's fault, such as a file that may not be read
            raise
        except sqlite3.DatabaseError:
            return False


def files_of(path: Path, suffix: str = "") -> list[Path]:
    """The names of the file and of SQLite's own files beside it, with `suffix` after the file's name."""
    return [path.with_name(path.name + suffix + end) for end in BESIDE]
