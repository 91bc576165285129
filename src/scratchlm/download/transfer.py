"""The download of one URL to a verified file: streamed, resumed, retried where that may help, bounded in time."""

from __future__ import annotations

import hashlib
import random
import re
from http import HTTPStatus
from pathlib import Path

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from scratchlm.download.sources import Source
from scratchlm.download.web import GaveUp, NoConnection, Transient, WebSession
from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json
from scratchlm.files.checksum import mismatch
from scratchlm.files.room import check_room, writable
from scratchlm.files.text import read_json
from scratchlm.stage.progress import progress_bar

CHUNK_BYTES = 2**18
NO_CONNECTION_TRIES = 2  # without a network the user should read why within seconds
SHA256 = re.compile(r"[0-9a-f]{64}")
OTHER_CACHE = "; SCRATCHLM_CACHE can name another folder"


class Transfer:
    """The download of one URL into a part file, which later tries and later runs continue."""

    def __init__(self, source: Source, url: str, part: Path, session: WebSession) -> None:
        self.source, self.url, self.part = source, url, part
        self.session, self.limits = session, session.limits
        self.sha256 = source.sha256
        self.url_sha256 = hashlib.sha256(url.encode()).hexdigest()  # the URL itself may hold a password
        self.resumed = False  # the part is pieced together from several answers
        self.reached_bytes = 0
        self.barren_tries = 0

    def run(self) -> str | None:
        """Download until the part is complete and verified; return its sha256 if it is pinned or given by the host."""
        for _ in range(2):
            tries = Retrying(
                retry=retry_if_exception_type(Transient), stop=self.hopeless, wait=self.pause_s, reraise=True
            )
            tries(self.attempt)
            problem = mismatch(self.part, self.source.size_bytes, self.sha256)
            if problem is None:
                return self.sha256
            drop(self.part)
            if not self.resumed:
                break  # a second download helps only if pieces of two different files were joined
            self.resumed, self.reached_bytes, self.barren_tries = False, 0, 0
        raise GaveUp(problem)

    def hopeless(self, state: RetryCallState) -> bool:
        """Return whether to stop: no time is left for another try, or too many tries in a row brought nothing."""
        unreached = isinstance(failure_of(state), NoConnection) and not self.reached_bytes
        tries = NO_CONNECTION_TRIES if unreached else self.limits.tries
        return self.barren_tries >= tries or state.upcoming_sleep >= self.session.deadline.left_s()

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
        """Request what the part still lacks and append it."""
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
        answers = self.session.open(self.url, headers)
        # The Hub's header for the sha256 of a large file, sent with its redirect to the storage host.
        linked = [answer.headers.get("x-linked-etag", "").strip('"') for answer in answers]
        self.sha256 = self.sha256 or next(filter(SHA256.fullmatch, linked), None)
        with answers[-1] as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                drop(self.part)  # the server has another file now
                raise Transient("416 requested range not satisfiable")
            self.session.check_status(response)
            start, total = self.check_range(response, offset, validator)
            self.resumed = start > 0
            self.receive(response, start, total)

    def resumable(self) -> tuple[int, str | None]:
        """Return how many bytes can be kept, and the validator that guards them (None: the hash does)."""
        record = record_of(self.part)
        if not self.part.exists() or not record.exists():
            return 0, None
        try:
            seen = read_json(record, "the record of a download")
            validator = seen["validator"] if seen["url_sha256"] == self.url_sha256 else None
        except (InputError, LookupError, TypeError):  # damaged, or of an older version
            return 0, None
        if validator is None and self.source.sha256 is None:
            return 0, None
        return self.part.stat().st_size, validator

    def check_range(self, response: requests.Response, offset: int, validator: str | None) -> tuple[int, int | None]:
        """Return where the body starts in the file and the file's size, if stated."""
        start, total = 0, None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            answered = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
            changed = validator is not None and validator_of(response) not in (None, validator)
            if answered is None or int(answered[1]) != offset or changed:
                drop(self.part)
                raise Transient("answered with another range than asked for")
            start, total = offset, int(answered[2])
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
        check_room(self.part.parent, missing_bytes, OTHER_CACHE)
        bytes_shown = {"unit_scale": True, "unit_divisor": 1024, "initial": start}
        with (
            writable(self.part.parent, missing_bytes, OTHER_CACHE),
            progress_bar(total, self.source.name, "B", **bytes_shown) as bar,
            self.part.open("ab") as file,
        ):
            while chunk := self.session.read(response, CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    drop(self.part)
                    raise GaveUp(f"size more than {limit:,} bytes")
                file.write(chunk)
                bar.update(len(chunk))
        # A dropped connection where no length was stated, or a server that sends one piece at a time.
        expected_bytes = total or self.source.size_bytes or 0
        if size < expected_bytes:
            raise Transient(f"size {size:,}, expected {expected_bytes:,}")


def record_of(part: Path) -> Path:
    """Return the path of the file that notes a part's URL and validator."""
    return part.with_suffix(".part.json")


def drop(part: Path) -> None:
    """Remove a part and its record."""
    part.unlink(missing_ok=True)
    record_of(part).unlink(missing_ok=True)


def failure_of(state: RetryCallState) -> Transient:
    """Return the failure of the try that tenacity has just made."""
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, Transient)
    return failure


def validator_of(response: requests.Response) -> str | None:
    """Return the validator to send as If-Range: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    etag: str | None = response.headers.get("etag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")
