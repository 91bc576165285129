"""Requests to web servers: redirects, certificates, proxies, and a short reason for every failure."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from scratchlm.download.deadline import Deadline, TimedAdapter

MAX_REDIRECTS = 10


@dataclass(frozen=True)
class Limits:
    """How long and how much one download may take."""

    connect_s: float = 6.0  # to connect, the TLS handshake and a proxy's answer included
    read_s: float = 30.0  # silence between two pieces of an answer
    total_s: float = 6 * 3600.0  # all URLs together: GPT-2 1558M (6.4 GB) at 0.3 MB/s
    max_bytes: int = 20 * 2**30  # where the size is not known
    tries: int = 5  # in a row without one new byte
    backoff_s: float = 1.0  # doubled after each such try
    longest_wait_s: float = 60.0


LIMITS = Limits()


class GaveUp(Exception):
    """A file cannot be fetched from one place; the message is the reason in a few words."""


class Transient(GaveUp):
    """A failure that another try may mend; `wait_s` is how long the server asks to wait."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class NoConnection(Transient):
    """The host was not reached at all."""


class WebSession(requests.Session):
    """The connections of one fetch, and the time that all of them together may take."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits, self.deadline = limits, Deadline(limits.total_s)
        # requests itself knows REQUESTS_CA_BUNDLE, which goes first, but not OpenSSL's own variable.
        self.verify = os.environ.get("SSL_CERT_FILE") or True
        for scheme in ("http://", "https://"):
            self.mount(scheme, TimedAdapter(self.deadline))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would read a redirect's whole body into memory before it follows."""

    def open(self, url: str, headers: dict[str, str]) -> list[requests.Response]:
        """Send a request and follow redirects; return all answers; only the last one is still open.

        Raises GaveUp with the reason if there is no answer.
        """
        answers: list[requests.Response] = []
        while len(answers) <= MAX_REDIRECTS:
            timeouts = min(self.limits.connect_s, self.check_time()), self.limits.read_s
            try:
                answers.append(self.get(url, headers=headers, stream=True, timeout=timeouts))
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                self.check_time()
                raise explain(error, self.limits) from error
            except OSError as error:  # what requests raises if the file of certificates is missing
                raise GaveUp(f"no safe connection ({error})") from error
            if not answers[-1].is_redirect:
                return answers
            answers[-1].close()
            url = redirected(url, answers[-1].headers["location"])
        raise GaveUp(f"more than {MAX_REDIRECTS} redirects")

    def check_time(self) -> float:
        """Return how many seconds are left; raise GaveUp when there are none."""
        left_s = self.deadline.left_s()
        if left_s == 0:
            raise GaveUp(f"not finished within {self.limits.total_s:,g} s; the next run continues")
        return left_s

    def check_status(self, response: requests.Response) -> None:
        """Raise GaveUp, or Transient where another try may help, unless the status is 200 or 206."""
        status = response.status_code
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return
        known = status in set(HTTPStatus)
        reason = f"{status} {HTTPStatus(status).phrase.lower()}" if known else str(status)
        if status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) and status < 500:
            raise GaveUp(reason)
        wait_s = retry_after_s(response)
        if wait_s > self.limits.longest_wait_s:
            raise GaveUp(f"{reason}, asks to wait {wait_s:,.0f} s")
        raise Transient(reason, wait_s)

    def read(self, response: requests.Response, size_bytes: int) -> bytes:
        """Return the next bytes of a body, at most about `size_bytes`, as soon as any have come; b"" at its end."""
        try:
            return bytes(response.raw.read1(size_bytes, decode_content=True))
        except urllib3.exceptions.HTTPError as error:
            self.check_time()
            silent = isinstance(error, urllib3.exceptions.ReadTimeoutError)
            reason = f"silent for {self.limits.read_s:g} s in mid-file" if silent else "connection dropped in mid-file"
            raise Transient(reason) from error


def retry_after_s(response: requests.Response) -> float:
    """Return the seconds that a Retry-After header asks for, 0 if it is missing or unreadable."""
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
        raise GaveUp("redirects to something that is not a URL") from None
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
        "SSL_CERT_FILE to its file of certificates; otherwise check this computer's clock"
    )
