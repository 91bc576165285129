"""A real HTTP server on 127.0.0.1 that misbehaves as planned: each path answers its requests from a list."""

from __future__ import annotations

import gzip
import re
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultServer:
    """A server as a context; each request takes one of `answers[path]`, the last one stays; "*" is any path.

    `requests` holds (path, headers) of every request that came. With a `context` it speaks https.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        server = self

        class Handler(Request):
            fault_server = server

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> FaultServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def plan(self, path: str, *answers: Answer) -> str:
        """Set what a path answers and return its URL."""
        self.answers[path] = list(answers)
        return self.url + path

    def headers_of(self, path: str) -> list[dict[str, str]]:
        """Return the headers of each request for a path, in order, names in lower case."""
        return [headers for asked, headers in self.requests if asked == path]


class QuietServer(ThreadingHTTPServer):
    """A server that reports no error when a client goes away."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Request(BaseHTTPRequestHandler):
    """One request, answered by the next planned answer."""

    fault_server: FaultServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.fault_server
        with server.lock:
            server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answers = server.answers.get(self.path) or server.answers.get("*", [status(404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    do_CONNECT = do_GET  # how a proxy is asked for https

    def head(self, code: int, length: int | None, **headers: str) -> None:
        """Send status line and headers; `content_range` becomes Content-Range."""
        self.send_response(code)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang_up(self) -> None:
        """Close the connection without a further byte."""
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


Answer = Callable[[Request], None]


def serve(body: bytes, drop_after: int | None = None, ranges: bool = True, **validators: str) -> Answer:
    """Answer as a good server does, Range and If-Range included, but hang up after `drop_after` body bytes.

    Without `ranges` a Range is ignored and the whole file sent.
    """

    def answer(request: Request) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        guard = request.headers.get("If-Range")
        start = int(asked[1]) if asked and ranges and guard in (None, *validators.values()) else 0
        if start and start >= len(body):
            request.head(416, 0, Content_Range=f"bytes */{len(body)}")
            return
        rest = body[start:]
        if start:
            where = f"bytes {start}-{len(body) - 1}/{len(body)}"
            request.head(206, len(rest), Content_Range=where, **validators)
        else:
            request.head(200, len(rest), **validators)
        request.wfile.write(rest[:drop_after])
        if drop_after is not None:
            request.hang_up()

    return answer


def unstated(body: bytes) -> Answer:
    """Send the body without its length, then hang up."""

    def answer(request: Request) -> None:
        request.head(200, None)
        request.wfile.write(body)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with an empty body and this status."""
    return lambda request: request.head(code, 0, **headers)


def redirect(location: str, **headers: str) -> Answer:
    return status(302, Location=location, **headers)


def wrong_range(body: bytes) -> Answer:
    """Answer 206 with the file's first bytes whatever range was asked for."""

    def answer(request: Request) -> None:
        request.head(206, len(body), Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")
        request.wfile.write(body)

    return answer


def blind_range(body: bytes, length: int | None = None, **validators: str) -> Answer:
    """Answer any range of `body` with only its first `length` bytes, ignoring If-Range."""

    def answer(request: Request) -> None:
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        piece = body[start:][:length]
        where = f"bytes {start}-{start + len(piece) - 1}/{len(body)}"
        request.head(206, len(piece), Content_Range=where, **validators)
        request.wfile.write(piece)

    return answer


def endless(piece: bytes, pause_s: float, code: int = 200, **headers: str) -> Answer:
    """Send `piece` again and again without a stated length."""

    def answer(request: Request) -> None:
        request.head(code, None, **headers)
        with suppress(OSError):  # the client has gone
            while not request.fault_server.stopped.wait(pause_s):
                request.wfile.write(piece)
        request.hang_up()

    return answer


def drip(start: bytes, piece: bytes = b"x", pause_s: float = 0.05, pieces: int = 100) -> Answer:
    """Send `start` as it is, status line and all, then `piece` again and again, longer than any test should wait."""

    def answer(request: Request) -> None:
        with suppress(OSError):  # the client has gone
            request.wfile.write(start)
            for _ in range(pieces):
                request.fault_server.stopped.wait(pause_s)
                request.wfile.write(piece)
        request.hang_up()

    return answer


def slow(body: bytes, wait_s: float) -> Answer:
    """Wait, then send the whole file."""

    def answer(request: Request) -> None:
        request.fault_server.stopped.wait(wait_s)
        serve(body)(request)

    return answer


def hang(body: bytes = b"", length: int = 0) -> Answer:
    """Send nothing, or only the first bytes of a body, and keep the connection open."""

    def answer(request: Request) -> None:
        if body:
            request.head(200, length)
            request.wfile.write(body)
        request.fault_server.stopped.wait()
        request.hang_up()

    return answer


def gzipped(body: bytes, drop_after: int | None = None) -> Answer:
    """Send the body compressed, although the request does not allow it."""

    packed = gzip.compress(body, mtime=0)

    def answer(request: Request) -> None:
        request.head(200, len(packed), Content_Encoding="gzip")
        request.wfile.write(packed[:drop_after])
        if drop_after is not None:
            request.hang_up()

    return answer


def chunked(body: bytes, whole: bool) -> Answer:
    """Send the body in one chunk; unless `whole`, hang up before the last, empty one."""

    def answer(request: Request) -> None:
        request.head(200, None, Transfer_Encoding="chunked")
        request.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        if whole:
            request.wfile.write(b"0\r\n\r\n")

    return answer
