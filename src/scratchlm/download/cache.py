"""Listing and clearing the user's cache folder, without taking a file from a running download."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from scratchlm.download import sources
from scratchlm.download.fetch import url_key
from scratchlm.files.folders import cache_folder

# The names that `fetch` gives: a key (the sha256 of the file, or of its URL if that is unknown) and a kind of file.
OURS = re.compile(r"([0-9a-f]{64})(|\.part|\.part\.json|\.lock|\.sha256)")
JUDGE = "judge"  # the answers of judges, kept apart: they may have been paid for


@dataclass(frozen=True)
class CachedFile:
    """One file of the cache: what it is, in words, and its size."""

    path: Path
    name: str
    size_bytes: int


def cached_files() -> list[CachedFile]:
    """List the downloads in the cache, whole ones and those under way, by name."""
    known = {}
    for source in sources.ALL:
        for key in [source.sha256] if source.sha256 else map(url_key, source.urls):
            known[key] = source.name
            if (learned := cache_folder() / f"{key}.sha256").exists():
                known[learned.read_text(encoding="utf-8", errors="replace")] = source.name
    files = []
    for path in cache_folder().glob("*"):
        ours = OURS.fullmatch(path.name)
        if ours is None or ours[2] not in ("", ".part") or not path.is_file():
            continue
        name = known.get(ours[1], path.name.removesuffix(".part"))
        files.append(CachedFile(path, f"{name} (under way)" if ours[2] else name, path.stat().st_size))
    return sorted(files, key=lambda file: file.name)


def judge_bytes() -> int:
    """Return the size of the judges' answers in the cache."""
    return sum(path.stat().st_size for path in (cache_folder() / JUDGE).rglob("*") if path.is_file())


def clear_cache() -> list[str]:
    """Remove all downloads but those under way in another process; return the names of the ones that stayed.

    Other files in the folder are left alone.
    """
    folder, kept = cache_folder(), []
    keys = sorted({ours[1] for path in folder.glob("*") if (ours := OURS.fullmatch(path.name))})
    for key in keys:
        try:
            with FileLock(folder / f"{key}.lock", timeout=0):
                for path in folder.glob(f"{key}*"):
                    # The lock stays: a process that waits for it and the next one must lock the same file.
                    if OURS.fullmatch(path.name) and path.suffix != ".lock":
                        path.unlink(missing_ok=True)
        except Timeout:
            kept.append(key)
    return kept
