"""The cache of what judges said: raw answers in one SQLite file of the user's, shared by all projects and runs.

They are read anew in each run, so a changed parser costs no question. Every answer is committed as it comes: a killed
run loses none, and several processes may write at once (SQLite's write-ahead log).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from scratchlm.errors import InputError
from scratchlm.files.database import files_of, open_database
from scratchlm.files.folders import cache_folder
from scratchlm.judging.client import Backend, Completion

COLUMNS = "text, finish, prompt_tokens, answer_tokens, attempts, latency_s"
TABLE = f"CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, judge TEXT NOT NULL, {COLUMNS})"


def cache_path() -> Path:
    """Return the place of the cache's file; SCRATCHLM_CACHE names the folder above it."""
    return cache_folder() / "judge" / "answers.sqlite"


def answer_key(backend: Backend, schema: Mapping[str, Any] | None, prompt: str, ask: int) -> str:
    """The sha256, in hexadecimal, of everything that decides an answer; `ask` numbers the questions about one item."""
    identity = [backend.kind, backend.model, backend.model_digest, dict(backend.options), schema, prompt, ask]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()


class AnswerCache(AbstractContextManager["AnswerCache"]):
    """Answers by key, for many threads and processes; `with` it, and the file is closed afterwards.

    The file is made when the first answer is looked for. One that is spoilt is renamed and begun anew, one that cannot
    be read or written is done without: one line on standard error says so. What this run was told is remembered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()  # what is imported is compared with what is there
        self._remembered: dict[str, Completion] = {}
        self._database: sqlite3.Connection | None = None
        self._is_closed = self._has_warned = False

    def __exit__(self, *error: object) -> None:
        self.close()

    def get(self, key: str) -> Completion | None:
        """The answer with this key, None where there is none."""
        if key in self._remembered:
            return self._remembered[key]
        rows = self._run(f"SELECT {COLUMNS} FROM answers WHERE key = ?", key)
        return Completion(*rows[0]) if rows else None

    def put(self, key: str, judge: str, answer: Completion) -> None:
        """Keep an answer of `judge`, on disk when this returns; what is there already stays."""
        self._remembered[key] = answer
        self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", key, judge, *astuple(answer))

    def put_all(self, answers: Iterable[tuple[str, str, Completion]]) -> None:
        """Keep many answers (key, judge, answer), all of them or, if one cannot be had or kept, none.

        What is there already stays. Raises InputError if they cannot be kept.
        """
        rows = ((key, judge, *astuple(answer)) for key, judge, answer in answers)
        with self._lock:
            try:
                self._database = database = self._database or open_database(self.path, TABLE, "judge cache")
                # Apart at first: other processes go on writing, and one statement takes all.
                database.execute("CREATE TEMP TABLE imported AS SELECT * FROM answers WHERE FALSE")
                try:
                    database.executemany("INSERT INTO imported VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                    database.execute("INSERT OR IGNORE INTO answers SELECT * FROM imported")
                finally:
                    database.execute("DROP TABLE imported")
            except (sqlite3.Error, OSError) as error:
                reason = getattr(error, "strerror", None) or error
                raise InputError(f"{self.path}: the answers cannot be kept; {reason}") from None

    def count(self) -> int:
        """How many answers the file holds."""
        return len(self._run("SELECT key FROM answers"))

    def latencies_by_judge(self) -> dict[str, list[float | None]]:
        """The seconds that each answer in the file took, None in a batch, by judge in alphabetical order."""
        latencies: dict[str, list[float | None]] = {}
        for judge, latency_s in self._run("SELECT judge, latency_s FROM answers ORDER BY judge"):
            latencies.setdefault(judge, []).append(latency_s)
        return latencies

    def size_bytes(self) -> int:
        """What the file takes on disk, with SQLite's files beside it."""
        return sum(path.stat().st_size for path in files_of(self.path) if path.exists())

    def clear(self) -> int:
        """Remove all answers, and a spoilt file that was set aside; return how many answers there were."""
        removed = self.count()
        for statement in ("DELETE FROM answers", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            self._run(statement)
        self._remembered.clear()
        for path in files_of(self.path, ".spoilt"):
            path.unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """Close the file; what still comes from a thread left behind is not kept."""
        with self._lock:
            self._is_closed = True
            if self._database is not None:
                self._database.close()

    def _run(self, statement: str, *values: object) -> list[Any]:
        """Execute a statement and return its rows; none where that fails, which the user is told once."""
        with self._lock:
            try:
                if self._is_closed:
                    return []
                self._database = self._database or open_database(self.path, TABLE, "judge cache")
                return self._database.execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                if not self._has_warned:
                    reason = getattr(error, "strerror", None) or error
                    print(
                        f"judge cache: {self.path}: {reason}; going on without it, so these answers will be asked for "
                        "again (SCRATCHLM_CACHE can name another folder)",
                        file=sys.stderr,
                    )
                self._has_warned = True
                return []
