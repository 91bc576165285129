"""Listing and clearing the cache folder; other files in it are left alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from scratchlm.download import sources
from scratchlm.download.cache import cached_files, clear_cache, judge_bytes
from scratchlm.download.fetch import url_key

SOURCE = Path(__file__).parents[3] / "src"
OTHER = "0" * 64


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two whole downloads, one under way, a judge's answers, and a file that is not ours."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCRATCHLM_CACHE", str(folder))
    folder.mkdir()
    (folder / str(sources.THE_VERDICT.sha256)).write_bytes(b"x" * 20_479)
    (folder / f"{sources.THE_VERDICT.sha256}.lock").touch()
    learned = hashlib.sha256(b"weights").hexdigest()
    (folder / f"{url_key(sources.GPT2_WEIGHTS['355M'].urls[0])}.sha256").write_text(learned)
    (folder / learned).write_bytes(b"weights")
    (folder / f"{OTHER}.part").write_bytes(b"half")
    (folder / f"{OTHER}.part.json").write_bytes(b"{}")
    (folder / "judge").mkdir()
    (folder / "judge" / "answers").write_bytes(b"1234567")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_downloads_are_listed_by_their_own_names(cache: Path) -> None:
    assert [(file.name, file.size_bytes) for file in cached_files()] == [
        (f"{OTHER} (under way)", 4),
        ("gpt2-355M.safetensors", 7),
        ("the-verdict.txt", 20_479),
    ]
    assert judge_bytes() == 7


def test_clearing_leaves_other_files_and_downloads_under_way(cache: Path) -> None:
    with FileLock(cache / f"{OTHER}.lock"):
        assert clear_cache() == [OTHER]
        assert [file.name for file in cached_files()] == [f"{OTHER} (under way)"]
    assert clear_cache() == []
    left = {path.name for path in cache.iterdir() if path.suffix != ".lock"}
    assert left == {"judge", "notes.txt"} and judge_bytes() == 7


def test_a_missing_cache_is_empty_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "none"))
    assert (cached_files(), judge_bytes(), clear_cache()) == ([], 0, [])
    assert not (tmp_path / "none").exists()


def run_cache(*words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", "cache", *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_command_shows_place_files_and_sizes_and_clears(cache: Path) -> None:
    assert run_cache() == (
        f"{cache}: 20,497 bytes (SCRATCHLM_CACHE names another folder)\n"
        f"              4  {OTHER} (under way)\n"
        "              7  gpt2-355M.safetensors\n"
        "         20,479  the-verdict.txt\n"
        "              7  judge/ (the judges' answers)\n"
    )
    assert run_cache("--clear") == (
        f"{cache}: 7 bytes (SCRATCHLM_CACHE names another folder)\n              7  judge/ (the judges' answers)\n"
    )
