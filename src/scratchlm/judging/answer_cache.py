"""The cache of what judges said: raw answers in one SQLite file of the user's, shared by all projects and runs.

Raw answers are kept and read anew in each run, so a changed parser costs no question. Every answer is committed as
it comes: a killed run loses none, and several processes may write at once (SQLite's write-ahead log).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from filelock import FileLock

from scratchlm.files.folders import cache_folder
from scratchlm.judging.backend import Backend

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0  # for another process's write, which takes milliseconds
SPOILT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BESIDE = ("-wal", "-shm")  # SQLite's own files beside an open database
COLUMNS = "text, finish, prompt_tokens, answer_tokens, attempts, latency_s"
TABLE = f"CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, judge TEXT NOT NULL, {COLUMNS})"


@dataclass(frozen=True)
class CachedAnswer:
    """An answer as it came, how many times the server was asked until it did, and how long the last time took.

    The seconds stand here and in no row: the same answers must make the same bytes.
    """

    text: str
    finish: str
    prompt_tokens: int | None
    answer_tokens: int | None
    attempts: int
    latency_s: float


def cache_path() -> Path:
    """Return the place of the cache's file; SCRATCHLM_CACHE names the folder above it."""
    return cache_folder() / "judge" / "answers.sqlite"


def answer_key(backend: Backend, schema: Mapping[str, Any] | None, prompt: str, ask: int) -> str:
    """The sha256, in hexadecimal, of everything that decides an answer; `ask` numbers the questions about one item."""
    identity = [backend.kind, backend.model, backend.model_digest, dict(backend.options), schema, prompt, ask]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()


class AnswerCache:
    """Answers by key, for many threads and processes; `with` it, and the file is closed afterwards.

    The file is made when the first answer is looked for: who asks nobody needs none.
    A file that is spoilt is renamed and begun anew, one that cannot be read or written is done without: one line
    on standard error says so. What this run was told is remembered until it ends, whatever becomes of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._remembered: dict[str, CachedAnswer] = {}
        self._database: sqlite3.Connection | None = None
        self._readable = self._writable = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: str) -> CachedAnswer | None:
        """The answer with this key, None where there is none."""
        if key in self._remembered:
            return self._remembered[key]
        row = self._run(
            lambda database: database.execute(f"SELECT {COLUMNS} FROM answers WHERE key = ?", (key,)).fetchone()
        )
        return CachedAnswer(*row) if row else None

    def put(self, key: str, judge: str, answer: CachedAnswer) -> None:
        """Keep an answer of `judge`, on disk when this returns; what is there already stays."""
        self._remembered[key] = answer
        values = (key, judge, *astuple(answer))
        if self._writable:
            self._run(
                lambda database: database.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
                ),
                writes=True,
            )

    def count(self) -> int:
        """How many answers the file holds."""
        return sum(map(len, self.latencies_by_judge().values()))

    def latencies_by_judge(self) -> dict[str, list[float]]:
        """The seconds that each answer in the file took, by judge in alphabetical order."""
        query = "SELECT judge, latency_s FROM answers ORDER BY judge"
        latencies: dict[str, list[float]] = {}
        for judge, latency_s in self._run(lambda database: database.execute(query).fetchall()) or []:
            latencies.setdefault(judge, []).append(latency_s)
        return latencies

    def size_bytes(self) -> int:
        """What the file takes on disk, with SQLite's files beside it."""
        paths = [self.path, *(beside(self.path, suffix) for suffix in BESIDE)]
        return sum(path.stat().st_size for path in paths if path.exists())

    def clear(self) -> int:
        """Remove all answers, and a spoilt file that was set aside; return how many answers there were."""

        def empty(database: sqlite3.Connection) -> int:
            removed = database.execute("DELETE FROM answers").rowcount
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return removed

        removed = self._run(empty, writes=True) or 0
        self._remembered.clear()
        for suffix in ("", *BESIDE):
            beside(self.path, f".spoilt{suffix}").unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """Close the file; an answer that still comes from a thread left behind is not kept."""
        with self._lock:
            self._readable = self._writable = False
            self._disconnect()

    def _run(self, operation: Callable[[sqlite3.Connection], T], writes: bool = False) -> T | None:
        """Do something with the file; None where that fails, which the user is told once."""
        with self._lock:
            for _ in range(2):
                if not self._readable:
                    break
                try:
                    self._database = self._database or open_database(self.path)
                    return operation(self._database)
                except (sqlite3.Error, OSError) as error:
                    try:
                        if is_spoilt(error):
                            self._disconnect()
                            set_aside(self.path)
                            continue
                    except OSError as worse:
                        error = worse
                    self._do_without(error, writes)
                    break
        return None

    def _do_without(self, error: Exception, writes: bool) -> None:
        if self._writable:  # the first time
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            print(
                f"judge cache: {self.path}: {reason}; going on without it, so these answers will be asked for again "
                "(SCRATCHLM_CACHE can name another folder)",
                file=sys.stderr,
            )
        self._writable = False
        if not writes or self._database is None:
            self._readable = False
            self._disconnect()

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, or make it; every statement is a transaction of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Switching to the write-ahead log does not wait for another process that does the same.
    with FileLock(beside(path, ".lock"), timeout=BUSY_TIMEOUT_S):
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last answers, never the file
            database.execute(TABLE)
        except BaseException:
            database.close()
            raise
    return database


def is_spoilt(error: Exception) -> bool:
    """Whether SQLite says that the file's bytes make no database."""
    code = getattr(error, "sqlite_errorcode", None)  # only errors of the database itself have one
    return code is not None and code & 0xFF in SPOILT  # the low byte of an extended code is the plain one


def set_aside(path: Path) -> None:
    """Rename a spoilt file, unless another process has done so already, and say so."""
    with FileLock(beside(path, ".lock"), timeout=BUSY_TIMEOUT_S):
        if not path.exists() or is_sound(path):
            return
        for suffix in ("", *BESIDE):
            if beside(path, suffix).exists():
                beside(path, suffix).replace(beside(path, f".spoilt{suffix}"))
    print(f"judge cache: {path} is spoilt, set aside as {path.name}.spoilt and begun anew", file=sys.stderr)


def is_sound(path: Path) -> bool:
    """Whether every page of the file can be read."""
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        return bool(database.execute("PRAGMA quick_check").fetchall() == [("ok",)])
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is that of `path` with `suffix` after it."""
    return path.with_name(path.name + suffix)
