"""One URL to one verified file: streamed, resumed, retried where that may help, and never without an end."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from scratchlm.errors import InputError
from scratchlm.files import read_json, write_json
from scratchlm.progress import progress_bar
from scratchlm.sources import Source

CHUNK_BYTES = 2**18
MAX_REDIRECTS = 10
NO_CONNECTION_TRIES = 2  # without a network the user should read why within seconds
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Limits:
    """How long and how much one download may take; the tests use shorter ones."""

    connect_s: float = 6.0
    read_s: float = 30.0  # silence between two pieces of a body
    total_s: float = 6 * 3600.0  # GPT-2 1558M (6.4 GB) at 0.3 MB/s
    max_bytes: int = 20 * 2**30  # where the size is not known
    tries: int = 5  # in a row without one new byte
    backoff_s: float = 1.0  # doubled after each such try
    longest_wait_s: float = 60.0


LIMITS = Limits()


# No space, a quota, and the largest file that a file system or a limit allows.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OTHER_CACHE = "; SCRATCHLM_CACHE can name another folder"


class GaveUp(Exception):
    """A place does not give the file; the message says why in a few words."""


class Transient(GaveUp):
    """A failure that another try may mend; `wait_s` is how long the server asks to wait."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class NoConnection(Transient):
    """The host was not reached at all."""


class OneHop(requests.Session):
    """A session that leaves redirects to us; requests would read a redirect's whole body into memory."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: nothing to follow."""


class Transfer:
    """One URL on its way into a part file, which later tries and later runs continue."""

    def __init__(self, source: Source, url: str, part: Path, limits: Limits) -> None:
        self.source, self.url, self.part, self.limits = source, url, part, limits
        self.sha256 = source.sha256
        self.url_sha256 = hashlib.sha256(url.encode()).hexdigest()  # the URL itself may hold a password
        self.deadline_s = time.monotonic() + limits.total_s
        self.session = OneHop()
        # requests itself knows REQUESTS_CA_BUNDLE, which goes first, but not OpenSSL's own variable.
        self.session.verify = os.environ.get("SSL_CERT_FILE") or True
        self.resumed = False  # the part is pieced together from several answers
        self.reached_bytes = 0
        self.barren_tries = 0

    def run(self) -> str | None:
        """Download until the part is complete and verified; return its hash if anyone vouches for it."""
        for _ in range(2):
            tries = Retrying(
                retry=retry_if_exception_type(Transient), stop=self.hopeless, wait=self.pause_s, reraise=True
            )
            with self.session:
                tries(self.attempt)
            problem = mismatch(self.part, self.source.size_bytes, self.sha256)
            if problem is None:
                return self.sha256
            drop(self.part)
            if not self.resumed:
                break  # only pieces of two different files are worth a second download
            self.resumed, self.reached_bytes, self.barren_tries = False, 0, 0
        raise GaveUp(problem)

    def hopeless(self, state: RetryCallState) -> bool:
        """Say whether to stop: the time is up, or too many tries in a row brought nothing."""
        unreached = isinstance(failure_of(state), NoConnection) and not self.reached_bytes
        tries = NO_CONNECTION_TRIES if unreached else self.limits.tries
        return self.barren_tries >= tries or time.monotonic() > self.deadline_s

    def pause_s(self, state: RetryCallState) -> float:
        """Return how long to wait: what the server asks for, else doubling with jitter."""
        backoff_s = min(self.limits.backoff_s * 2**self.barren_tries / 2, self.limits.longest_wait_s)
        return failure_of(state).wait_s or backoff_s * random.SystemRandom().uniform(0.5, 1.0)

    def attempt(self) -> None:
        """Make one request, and note whether it brought anything new."""
        try:
            self.request()
        except Transient:
            size = self.part.stat().st_size if self.part.exists() else 0
            self.barren_tries = 0 if size > self.reached_bytes else self.barren_tries + 1
            self.reached_bytes = max(self.reached_bytes, size)
            raise

    def request(self) -> None:
        """Ask for what is missing of the part and append it."""
        offset, validator = self.resumable()
        if offset and offset == self.source.size_bytes:
            self.resumed = True
            return
        # identity: sizes and ranges count the file's own bytes.
        headers = {"Accept-Encoding": "identity", "User-Agent": "scratchlm"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        with self.open(headers) as response:
            self.check_status(response)
            start, total = self.check_range(response, offset, validator)
            self.resumed = start > 0
            self.receive(response, start, total)

    def resumable(self) -> tuple[int, str | None]:
        """Return how many bytes can be kept, and the validator that guards them (None: the hash does)."""
        record = record_of(self.part)
        if not self.part.exists() or not record.exists():
            return 0, None
        try:
            seen = read_json(record)
            validator = seen["validator"] if seen["url_sha256"] == self.url_sha256 else None
        except (ValueError, LookupError, TypeError):  # damaged, or of an older version
            return 0, None
        if validator is None and self.source.sha256 is None:
            return 0, None
        return self.part.stat().st_size, validator

    def open(self, headers: dict[str, str]) -> requests.Response:
        """Send the request and follow redirects, noting the hash that a host on the way vouches for."""
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = self.session.get(
                    url,
                    headers=headers,
                    stream=True,
                    timeout=(self.limits.connect_s, self.limits.read_s),
                )
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise explain(error, self.limits) from error
            except OSError as error:  # what requests raises for a file of certificates that is not there
                raise GaveUp(f"no safe connection ({error})") from error
            # The Hub's name for the sha256 of a large file, sent with its redirect to the storage host.
            linked = response.headers.get("x-linked-etag", "").strip('"')
            if self.sha256 is None and SHA256.fullmatch(linked):
                self.sha256 = linked
            if not response.is_redirect:
                return response
            response.close()
            url = redirected(url, response.headers["location"])
        raise GaveUp(f"more than {MAX_REDIRECTS} redirects")

    def check_status(self, response: requests.Response) -> None:
        """Raise unless the answer carries the file."""
        status = response.status_code
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return
        known = status in set(HTTPStatus)
        reason = f"{status} {HTTPStatus(status).phrase.lower()}" if known else str(status)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            drop(self.part)  # the file there is another one than the part's
            raise Transient(reason)
        if status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) and status < 500:
            raise GaveUp(reason)
        wait_s = retry_after_s(response)
        if wait_s > self.limits.longest_wait_s:
            raise GaveUp(f"{reason}, asks to wait {wait_s:,.0f} s")
        raise Transient(reason, wait_s)

    def check_range(self, response: requests.Response, offset: int, validator: str | None) -> tuple[int, int | None]:
        """Return where the body starts in the file and the file's size, if stated."""
        start, total = 0, None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            answered = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
            changed = validator is not None and validator_of(response) not in (None, validator)
            if answered is None or int(answered[1]) != offset or changed:
                drop(self.part)
                raise Transient("answered with another range than asked for")
            start, total = offset, None if answered[2] == "*" else int(answered[2])
        elif "content-encoding" not in response.headers:
            total = response.raw.length_remaining
        self.check_size(total)
        return start, total

    def check_size(self, total: int | None) -> None:
        """Raise if a stated size is wrong or too large."""
        if total is not None and self.source.size_bytes not in (None, total):
            raise GaveUp(f"size {total:,}, expected {self.source.size_bytes:,}")
        if total is not None and total > self.limits.max_bytes:
            raise GaveUp(f"size {total:,}, at most {self.limits.max_bytes:,} are downloaded")

    def receive(self, response: requests.Response, start: int, total: int | None) -> None:
        """Write the body into the part from byte `start` on."""
        record = record_of(self.part)
        if start == 0:
            drop(self.part)
            if "content-encoding" not in response.headers:  # an encoded body has no offsets to resume at
                write_json(record, {"url_sha256": self.url_sha256, "validator": validator_of(response)})
        size, limit = start, self.source.size_bytes or self.limits.max_bytes
        missing_bytes = total - start if total is not None else None
        check_room(self.part.parent, missing_bytes)
        bytes_shown = {"unit_scale": True, "unit_divisor": 1024, "initial": start}
        with (
            writable(self.part.parent, missing_bytes, OTHER_CACHE),
            progress_bar(total, self.source.name, "B", **bytes_shown) as bar,
            self.part.open("ab") as file,
        ):
            while chunk := self.read(response):
                size += len(chunk)
                if size > limit:
                    drop(self.part)
                    raise GaveUp(f"size more than {limit:,} bytes")
                file.write(chunk)
                bar.update(len(chunk))

    def read(self, response: requests.Response) -> bytes:
        """Return the next piece of the body as soon as any has come, b"" at its end."""
        if time.monotonic() > self.deadline_s:
            raise GaveUp(f"not finished within {self.limits.total_s:,.0f} s; the next run continues")
        try:
            return bytes(response.raw.read1(CHUNK_BYTES, decode_content=True))
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Transient(f"silent for {self.limits.read_s:g} s in mid-file") from error
        except urllib3.exceptions.HTTPError as error:
            raise Transient("connection dropped in mid-file") from error


def check_room(folder: Path, needed_bytes: int | None) -> None:
    """Raise InputError before a file is begun that the disk has no room for."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes is not None and needed_bytes > free_bytes:
        raise InputError(
            f"no space left in {folder}: {needed_bytes:,} bytes are needed, {free_bytes:,} are free{OTHER_CACHE}"
        )


@contextmanager
def writable(folder: Path, needed_bytes: int | None, hint: str = "") -> Iterator[None]:
    """Turn a full or closed disk into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise InputError(f"cannot write {error.filename or folder}: {error.strerror}{hint}") from error
        needed = f"{needed_bytes:,} bytes are" if needed_bytes else "more is"
        raise InputError(f"no space left in {folder}: {needed} needed ({error.strerror}){hint}") from error


def record_of(part: Path) -> Path:
    """Return the file that says which URL and which version of it a part is from."""
    return part.with_suffix(".part.json")


def drop(part: Path) -> None:
    """Remove a part and its record."""
    part.unlink(missing_ok=True)
    record_of(part).unlink(missing_ok=True)


def failure_of(state: RetryCallState) -> Transient:
    """Return the failure that tenacity asks about."""
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, Transient)
    return failure


def validator_of(response: requests.Response) -> str | None:
    """Return what If-Range may be sent: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    etag: str | None = response.headers.get("etag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")


def retry_after_s(response: requests.Response) -> float:
    """Return the seconds a Retry-After header asks for, 0 where there is none that can be read."""
    try:
        return urllib3.Retry().parse_retry_after(response.headers["retry-after"])
    except (KeyError, urllib3.exceptions.InvalidHeader):
        return 0.0


def redirected(url: str, location: str) -> str:
    """Return where a redirect leads, never from https to http nor out of the web."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        raise GaveUp("redirects to what is no URL") from None
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise GaveUp(f"redirects from {urlsplit(url).scheme} to {scheme}: refused")
    return target


def explain(error: Exception, limits: Limits) -> GaveUp:
    """Say in a few words why no answer came."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, urllib3.exceptions.MaxRetryError) else None
    if isinstance(error, requests.exceptions.SSLError):
        return GaveUp(f"no safe connection ({certificate_problem(reason)})")
    if isinstance(error, requests.exceptions.ProxyError):
        return NoConnection("no connection (proxy not reachable)")
    if isinstance(error, requests.ConnectTimeout):
        return NoConnection(f"no connection (no answer within {limits.connect_s:g} s)")
    if isinstance(error, requests.ReadTimeout):
        return Transient(f"no answer within {limits.read_s:g} s")
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return NoConnection("no connection (name not resolved)")
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        system = reason.__cause__
        detail = system.strerror if isinstance(system, OSError) else None
        return NoConnection(f"no connection ({(detail or 'failed').lower()})")
    if isinstance(error, requests.ConnectionError):
        return Transient("connection dropped")
    return GaveUp(f"not a usable URL or answer ({type(error).__name__})")


def certificate_problem(reason: object) -> str:
    """Say what is wrong with a server's certificate, and what to do about the usual case."""
    cause = reason.args[0] if isinstance(reason, Exception) and reason.args else reason
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else "the encryption failed"
    return (
        f"certificate refused: {cause.verify_message}; behind a company's proxy, set REQUESTS_CA_BUNDLE or "
        "SSL_CERT_FILE to its file of certificates; else look at the clock"
    )


def measure(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its sha256."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def mismatch(path: Path, size_bytes: int | None, sha256: str | None) -> str | None:
    """Say how a file differs from what is known of it, or return None."""
    size = path.stat().st_size
    if size_bytes is not None and size != size_bytes:
        return f"size {size:,}, expected {size_bytes:,}"
    if sha256 is not None and (digest := measure(path)[1]) != sha256:
        return f"sha256 {digest}, expected {sha256}"
    return None
