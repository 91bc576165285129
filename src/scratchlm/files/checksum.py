"""A file's size and sha256, measured and compared."""

from __future__ import annotations

import hashlib
from pathlib import Path


def measure(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its sha256 in lower-case hex."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def mismatch(path: Path, size_bytes: int | None, sha256: str | None) -> str | None:
    """Say how a file differs from the size and sha256 that are known, or return None."""
    size = path.stat().st_size
    if size_bytes is not None and size != size_bytes:
        return f"size {size:,}, expected {size_bytes:,}"
    if sha256 is not None and (digest := measure(path)[1]) != sha256:
        return f"sha256 {digest}, expected {sha256}"
    return None
