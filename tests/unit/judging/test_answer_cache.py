"""The answer cache on real files: killed writers, two processes, spoilt files, full disks, and its command."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from scratchlm.judging.answer_cache import AnswerCache, answer_key, cache_path
from scratchlm.judging.client import Completion

REPOSITORY = Path(__file__).parents[3]
ANSWER = Completion('85 "ü\n\0', "stop", 100, None, 2, 0.25)

# Writes answers as fast as it can, from a moment on, and says each key once it is on disk.
WRITER = """
import sys
import time
from pathlib import Path
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.client import Completion
name, path, count, start_s = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
while time.time() < start_s:
    pass
with AnswerCache(path) as cache:
    for number in range(count):
        key = f"{name}-{number}"
        cache.put(key, "test:" + name, Completion(key * 50, "stop", number, None, 1, 0.5))
        print(key, flush=True)
"""


def start_writer(name: str, path: Path, count: int, start_s: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, name, str(path), str(count), str(start_s)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "judge" / "answers.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[AnswerCache]:
    with AnswerCache(path) as opened:
        yield opened


def test_an_answer_comes_back_as_it_was_in_this_run_and_the_next(path: Path) -> None:
    with AnswerCache(path) as cache:
        assert cache.get("key") is None
        cache.put("key", "ollama:llama3", ANSWER)
        assert cache.get("key") == ANSWER
    with AnswerCache(path) as cache:
        assert cache.get("key") == ANSWER
        assert cache.get("other") is None


def test_it_lies_where_scratchlm_cache_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path))
    assert cache_path() == tmp_path / "judge" / "answers.sqlite"


def test_it_counts_by_judge_and_is_emptied(cache: AnswerCache) -> None:
    for number in range(300):
        cache.put(str(number), f"ollama:{number % 2}", Completion("long " * 200, "stop", None, None, 1, 0.5))
    assert cache.count() == 300
    assert cache.latencies_by_judge() == {"ollama:0": [0.5] * 150, "ollama:1": [0.5] * 150}
    full_bytes = cache.size_bytes()
    assert full_bytes > 300_000
    assert cache.clear() == 300
    assert cache.count() == cache.clear() == 0
    assert cache.size_bytes() < full_bytes / 5
    assert cache.get("7") is None


@dataclass(frozen=True)
class Asked:
    """What of a backend decides an answer."""

    kind: str = "ollama"
    model: str = "llama3"
    model_digest: str | None = "abc"
    options: dict[str, Any] = field(default_factory=lambda: {"seed": 1, "temperature": 0.0})


def test_the_key_changes_with_everything_that_decides_an_answer() -> None:
    first = answer_key(Asked(), None, "How good?", 1)
    assert first == answer_key(Asked(options={"temperature": 0.0, "seed": 1}), None, "How good?", 1)
    others = [
        answer_key(Asked(kind="openai"), None, "How good?", 1),
        answer_key(Asked(model="phi3"), None, "How good?", 1),
        answer_key(Asked(model_digest=None), None, "How good?", 1),
        answer_key(Asked(options={"seed": 2, "temperature": 0.0}), None, "How good?", 1),
        answer_key(Asked(), {"type": "object"}, "How good?", 1),
        answer_key(Asked(), None, "How bad?", 1),
        answer_key(Asked(), None, "How good?", 2),
    ]
    assert len({first, *others}) == 8
    assert len(first) == 64


def test_a_writer_killed_at_any_moment_leaves_every_answer_it_was_told_of(path: Path) -> None:
    told: list[str] = []
    generator = random.Random(1)
    for number in range(6):
        writer = start_writer(f"w{number}", path, 1_000_000)
        assert writer.stdout is not None and writer.stderr is not None
        told.append(writer.stdout.readline().strip())  # it has begun
        time.sleep(generator.uniform(0.0, 0.15))
        writer.kill()
        told += writer.stdout.read().split("\n")[:-1]  # without what the kill cut
        assert writer.wait() == -signal.SIGKILL and writer.stderr.read() == ""
    assert len(told) > 100
    with AnswerCache(path) as cache:
        for key in told:
            found = cache.get(key)
            assert found is not None and found.text == key * 50
    checked = sqlite3.connect(path)
    assert checked.execute("PRAGMA journal_mode").fetchone() == ("wal",)  # another one shows itself only in luck
    assert checked.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    checked.close()
    assert not list(path.parent.glob("*spoilt*"))


def test_processes_write_at_once_from_the_files_first_moment_on(path: Path) -> None:
    start_s = time.time() + 0.8
    writers = [start_writer(name, path, 100, start_s) for name in "abcdef"]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    with AnswerCache(path) as cache:
        assert cache.latencies_by_judge() == {f"test:{name}": [0.5] * 100 for name in "abcdef"}


def test_opening_waits_for_another_that_opens(path: Path) -> None:
    path.parent.mkdir(parents=True)
    opening = threading.Thread(target=lambda: AnswerCache(path).count())
    with FileLock(f"{path}.lock"):  # without it every other start of six at once met "database is locked"
        opening.start()
        opening.join(0.1)
        assert opening.is_alive()
    opening.join(5)
    assert not opening.is_alive()


def test_no_file_is_made_for_a_judge_that_asks_nobody(path: Path) -> None:
    with AnswerCache(path):
        pass
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "rubbish", [b"no database at all, but long enough to be one " * 30, b"SQLite format 3\0" * 300]
)
def test_a_spoilt_file_is_set_aside_with_one_line(
    path: Path, rubbish: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(rubbish)
    with AnswerCache(path) as cache:
        cache.put("key", "ollama:llama3", ANSWER)
    with AnswerCache(path) as cache:
        assert cache.get("key") == ANSWER
        said = capsys.readouterr().err
        assert said == f"judge cache: {path} is spoilt, set aside as answers.sqlite.spoilt and begun anew\n"
        assert (path.parent / "answers.sqlite.spoilt").read_bytes() == rubbish
        cache.clear()
    assert not (path.parent / "answers.sqlite.spoilt").exists()


def test_a_file_spoilt_in_the_middle_is_set_aside_when_that_is_seen(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with AnswerCache(path) as cache:
        for number in range(500):
            cache.put(str(number), "ollama:llama3", Completion("long " * 100, "stop", None, None, 1, 0.5))
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(1).randbytes(len(content) - 4096)
    path.write_bytes(content)
    with AnswerCache(path) as cache:
        assert cache.get("17") is None
        cache.put("17", "ollama:llama3", ANSWER)
        assert cache.count() == 1
    assert capsys.readouterr().err.count("spoilt, set aside") == 1


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with AnswerCache(tmp_path / "file" / "answers.sqlite") as cache:
        for _ in range(2):
            cache.put("key", "ollama:llama3", ANSWER)
            assert cache.get("key") == ANSWER  # asked once in this run all the same
            assert cache.get("other") is None
        assert cache.count() == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "going on without it" in said and "SCRATCHLM_CACHE" in said


def test_a_full_disk_keeps_what_was_there_and_warns_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with AnswerCache(path) as cache:
        cache.put("old", "ollama:llama3", ANSWER)
        assert cache._database is not None
        cache._database.execute("PRAGMA max_page_count = 4")  # SQLite's own way to a full disk
        for number in range(50):
            cache.put(str(number), "ollama:llama3", Completion("long " * 1000, "stop", None, None, 1, 0.5))
        assert cache.get("49") is not None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "full" in said
    with AnswerCache(path) as cache:
        assert cache.get("old") == ANSWER
        assert cache.get("49") is None


def test_a_file_that_only_may_be_read_still_answers(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with AnswerCache(path) as cache:
        cache.put("old", "ollama:llama3", ANSWER)
        assert cache._database is not None
        cache._database.execute("PRAGMA query_only = 1")  # file modes do not stop root
        cache._remembered.clear()
        cache.put("new", "ollama:llama3", ANSWER)
        assert cache.get("old") == ANSWER
    assert "readonly" in capsys.readouterr().err


def test_a_closed_cache_takes_a_late_answer_in_silence(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = AnswerCache(path)
    cache.close()
    cache.put("late", "ollama:llama3", ANSWER)
    assert cache.count() == 0
    assert capsys.readouterr().err == ""


def judge_command(cache_folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", "judge", *options],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "SCRATCHLM_CACHE": str(cache_folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_shows_and_clears_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "judge" / "answers.sqlite"
    assert judge_command(tmp_path, "--show-cache").stdout == f"{path}: no answers yet\n"
    assert not path.exists()
    with AnswerCache(path) as cache:
        for number in range(3):
            cache.put(str(number), ("ollama:llama3", "openai:tiny")[number > 1], ANSWER)
    first, *others = judge_command(tmp_path, "--show-cache").stdout.splitlines()
    assert first.startswith(f"{path}: 3 answers, ") and first.endswith(" bytes")
    assert others == ["  ollama:llama3\t2\t0.25 s each (median)", "  openai:tiny\t1\t0.25 s each (median)"]
    assert judge_command(tmp_path, "--clear-cache").stdout == f"{path}: 3 answers removed\n"
    assert ": 0 answers, " in judge_command(tmp_path, "--show-cache").stdout


@pytest.mark.parametrize("options", [(), ("--show-cache", "--clear-cache")])
def test_the_command_wants_one_of_its_options(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = judge_command(tmp_path, *options)
    assert done.returncode == 1
    assert done.stderr.startswith("scratchlm: error: give one of --export, --import, --show-cache and --clear-cache")
    assert len(done.stderr.splitlines()) == 1


def test_the_file_holds_no_more_than_it_says(path: Path) -> None:
    with AnswerCache(path) as cache:
        cache.put("key", "ollama:llama3", ANSWER)
    (row,) = sqlite3.connect(path).execute("SELECT * FROM answers").fetchall()
    assert json.dumps(row) == json.dumps(["key", "ollama:llama3", ANSWER.text, "stop", 100, None, 2, 0.25])
