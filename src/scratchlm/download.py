"""The one download function: the mirror first, then the cache, then each URL; verified before it is named."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock, Timeout

from scratchlm.archive import extract_member
from scratchlm.errors import InputError
from scratchlm.files import atomic_path, write_text
from scratchlm.sources import Source
from scratchlm.transfer import LIMITS, GaveUp, Limits, Transfer, drop, measure, mismatch

CHUNK_BYTES = 2**20
COMMIT = re.compile(r"/[0-9a-f]{40}/")  # a URL that names a commit gives the same file for ever


def fetch(source: Source, target: Path, limits: Limits = LIMITS) -> Path:
    """Put the file of `source` at `target`, from the mirror, the user's cache or its URLs.

    The mirror is SCRATCHLM_MIRROR, a folder or a base URL; the cache is SCRATCHLM_CACHE, by default
    scratchlm in XDG_CACHE_HOME or ~/.cache. Relative folders are relative to the repository's root. The file
    gets its name only when size and sha256 are right; where none is pinned, the host's own hash is used, and
    without that the file is accepted. Prints where it came from and its sha256.

    Raises InputError, one line that names each place tried and why it failed.
    """
    failures: list[str] = []
    place = obtain(source, target, limits, failures)
    if place is None:
        ways_out = (
            "download it yourself and give its path instead"
            if source.own
            else f"two ways out: set SCRATCHLM_MIRROR to a folder or URL that holds {source.name}, or use the sample"
            " profile (make profile P=sample)"
        )
        raise InputError(f"cannot get {source.name}: {'; '.join(failures)}; {ways_out}")
    size_bytes, digest = measure(target)
    print(f"{source.name}: {size_bytes:,} bytes from {place}, sha256 {digest}", file=sys.stderr)
    for failure in failures:
        print(f"{source.name}: error: not used: {failure}", file=sys.stderr)
    return target


@contextmanager
def opened_source(source: str, known: Mapping[str, Source]) -> Iterator[Path]:
    """Yield a local path to what a parameter names: one of the `known` sources, a URL, or a path of the user's.

    Downloads are gone after the block. Raises InputError as `fetch` does; what the block raises names `source`.
    """
    if source not in known and "://" not in source:
        yield from_root(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        if source in known:
            yield fetch(known[source], Path(folder) / known[source].name)
            return
        path = Path(folder) / (PurePosixPath(unquote(source.split("?")[0].split("#")[0])).name or "download")
        try:
            yield fetch_url(source, path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown(source))) from None


def fetch_url(url: str, target: Path, limits: Limits = LIMITS) -> Path:
    """Put a file from the user's own URL, of which nothing is pinned, at `target`; see `fetch`."""
    try:
        address = urlsplit(url)
    except ValueError as error:
        raise InputError(f"{url!r} is no URL ({error}); wanted https://host/path") from None
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InputError(f"{url!r} is no URL that can be downloaded; wanted https://host/path")
    name = PurePosixPath(unquote(address.path)).name
    return fetch(Source(name if name not in ("", "..") else "download", (url,), own=True), target, limits)


def obtain(source: Source, target: Path, limits: Limits, failures: list[str]) -> str | None:
    """Put the file at `target` and return the place it came from, or None; append the failures on the way."""
    urls = source.urls
    mirror = "" if source.own else os.environ.get("SCRATCHLM_MIRROR", "")
    if mirror.startswith(("http://", "https://")):
        urls = (f"{mirror.rstrip('/')}/{quote(source.name)}", *urls)
    elif mirror:
        path = from_root(mirror) / source.name
        try:
            copy_verified(path, source, target)
            return f"the mirror {path.parent}"
        except GaveUp as error:
            failures.append(f"{path} (mirror): {error}")
    for url in urls:
        try:
            return copy_from_url(source, url, target, limits)
        except GaveUp as error:
            failures.append(f"{shown(url)}: {error}")
    return obtain_member(source, source.archive, target, limits, failures) if source.archive else None


def obtain_member(source: Source, archive: Source, target: Path, limits: Limits, failures: list[str]) -> str | None:
    """Get the zip that holds the file, and the file out of it."""
    with writable(target.parent, source.size_bytes), tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / archive.name
        place = obtain(archive, packed, limits, failures)
        if place is None:
            return None
        try:
            extract_member(packed, source.name, target, source.size_bytes, source.sha256)
        except InputError as error:
            failures.append(f"{place}: {error}")
            return None
        return f"{archive.name} from {place}"


def from_root(folder: str) -> Path:
    """Resolve a folder against the repository's root, where DVC starts stages (queued ones only name it)."""
    try:
        return Path(os.environ.get("DVC_ROOT", ""), Path(folder).expanduser()).absolute()
    except RuntimeError:
        raise InputError(f"{folder}: there is no such user's home folder; give the path from / on") from None


def cache_folder() -> Path:
    """Return the folder of verified files, each named by its sha256, and of downloads under way."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return from_root(os.environ.get("SCRATCHLM_CACHE") or f"{base}/scratchlm")


def copy_verified(path: Path, source: Source, target: Path, sha256: str | None = None) -> None:
    """Copy `path` to `target`, checking the copy itself before it gets its name."""
    try:
        original = path.open("rb")
    except OSError as error:
        raise GaveUp((error.strerror or "cannot be read").lower()) from error
    with original, writable(target.parent, path.stat().st_size), atomic_path(target) as temporary:
        with temporary.open("wb") as copy:
            shutil.copyfileobj(original, copy, CHUNK_BYTES)
        if problem := mismatch(temporary, source.size_bytes, sha256 or source.sha256):
            raise GaveUp(problem)


def copy_from_cache(source: Source, sha256: str, target: Path) -> bool:
    """Copy the cached file with this hash to `target`, if there is one and it is unspoilt."""
    try:
        copy_verified(cache_folder() / sha256, source, target, sha256)
    except GaveUp:
        return False
    return True


def copy_from_url(source: Source, url: str, target: Path, limits: Limits) -> str:
    """Download `url` into the cache, once for all processes, copy it to `target` and return where it was.

    A file that may change at its URL is not kept.
    """
    cache = cache_folder()
    url_key = hashlib.sha256(url.encode()).hexdigest()
    learned = cache / f"{url_key}.sha256"  # what the host said this URL's file hashes to
    part = cache / f"{source.sha256 or url_key}.part"
    with writable(cache, source.size_bytes), locked(part.with_suffix(".lock"), limits):
        sha256 = source.sha256 or (learned.read_text(encoding="utf-8") if learned.exists() else None)
        if sha256 and copy_from_cache(source, sha256, target):
            return f"the cache {cache}"
        sha256 = Transfer(source, url, part, limits).run()
        if sha256 and (source.sha256 or COMMIT.search(url)):
            part.replace(cache / sha256)
            copy_verified(cache / sha256, source, target, sha256)
            if source.sha256 is None:
                write_text(learned, sha256)
        else:
            copy_verified(part, source, target, sha256)
        drop(part)
        return shown(url)


@contextmanager
def locked(path: Path, limits: Limits) -> Iterator[None]:
    """Keep other processes from the same download meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=limits.total_s):
            yield
    except Timeout:
        raise GaveUp(f"another process has been downloading it for {limits.total_s:,.0f} s") from None


@contextmanager
def writable(folder: Path, needed_bytes: int | None) -> Iterator[None]:
    """Turn a full or closed disk into one clear line."""
    try:
        yield
    except OSError as error:
        elsewhere = "; SCRATCHLM_CACHE can name another folder" if folder == cache_folder() else ""
        if error.errno != errno.ENOSPC:
            raise InputError(f"cannot write {error.filename or folder}: {error.strerror}{elsewhere}") from error
        needed = f"{needed_bytes:,} bytes are" if needed_bytes else "more is"
        raise InputError(f"no space left in {folder}: {needed} needed{elsewhere}") from error


def shown(url: str) -> str:
    """Return a URL as it may be printed, without a user's name and password."""
    return re.sub(r"//[^/@]*@", "//", url, count=1)
