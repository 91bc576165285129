"""What the judge servers of the tests share: real sockets on 127.0.0.1, scripted answers, faults of real servers.

ollama_server.py and openai_server.py add an API, openai_server.py also a key.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

JSON = "application/json; charset=utf-8"
AUTHORIZATION = b"<AUTHORIZATION>"  # in a scripted body: whatever the request's header holds, as some gateways tell


@dataclass(frozen=True)
class Reply:
    """How one chat request is answered, faults included."""

    content: str = "85"
    done_reason: str = "stop"
    prompt_eval_count: int | None = 100
    eval_count: int = 3
    status: int = 200
    body: bytes | None = None  # sent as it is in place of a chat answer, but for AUTHORIZATION
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0  # sends the body byte by byte, with this pause before each
    dropped: bool = False  # closes without an answer
    half: bool = False  # promises the whole body, sends half of it and closes
    away_s: float | None = None  # the server stops at this request and is back after so many seconds, or never (inf)


BUSY = Reply(status=503, body=b'{"error": "server busy, please try again"}')
LIMITED = Reply(status=429, body=b'{"error": "too many requests"}', headers={"Retry-After": "1"})
HTML = Reply(body=b"<html><body>Welcome to the proxy</body></html>", content_type="text/html")
LIST_ERROR = Reply(status=400, body=b'["an error that is a list"]')
DROPPED = Reply(dropped=True)
HALF = Reply(half=True)
HANGS = Reply(delay_s=math.inf)
DRIPS = Reply(drip_s=0.05)
CUT = Reply('{"score": 8', done_reason="length", eval_count=256)
PROSE = Reply("The response is correct but long, so I would give it a score of 85.")
QUOTED = Reply('"85"')
TOO_HIGH = Reply("150")
NOTHING = Reply("")


@dataclass
class ScriptedServer:
    """A context that listens on 127.0.0.1 at `host` until the block ends.

    `replies` are used in order; then `answer` makes each reply from the request. `requests` keeps every chat
    request, `answered` the prompts in the order in which their answers left. Requests that the real server would
    misread fail the block when it ends.
    """

    models: tuple[str, ...] = ()
    replies: list[Reply] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Reply] = lambda request: Reply()
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    misread: list[str] = field(default_factory=list)
    handler: ClassVar[type[ApiHandler]]

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._connections: set[socket.socket] = set()
        # Stays bound and never listens: it keeps the port from others while the server is away.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.host = f"http://127.0.0.1:{self._port.getsockname()[1]}"
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()  # wakes the slow replies and the server that is away
        self.stop()
        self._port.close()
        if error is None:
            assert not self.misread, f"the real server would misread these requests: {self.misread}"

    def start(self) -> None:
        """Listen, again on the same port where it was stopped before."""
        handler = type("Handler", (self.handler,), {"state": self})
        http = QuietServer(self._port.getsockname(), handler)
        with self._lock:
            self._http: QuietServer | None = http
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> bool:
        """Refuse new connections and cut the open ones, as a dying process does; return False if it is away already."""
        with self._lock:
            http, self._http = self._http, None
            connections = list(self._connections)
        if http is None:
            return False
        http.shutdown()
        http.server_close()
        for connection in connections:
            cut(connection)
        return True

    def go_away(self, away_s: float) -> None:
        """Stop, and come back on the same port after so many seconds."""
        if not self.stop():
            return

        def come_back() -> None:
            if not self._over.wait(min(away_s, threading.TIMEOUT_MAX)):
                self.start()

        threading.Thread(target=come_back, daemon=True).start()

    @property
    def asked(self) -> Counter[str]:
        """Return how often each prompt was asked."""
        return Counter(map(prompt_of, self.requests))

    def next_reply(self, request: dict[str, Any]) -> Reply:
        """Note a chat request, wait as its reply says, and return the reply."""
        with self._lock:
            self.requests.append(request)
            reply = self.replies.pop(0) if self.replies else self.answer(request)
        self.wait(reply.delay_s)
        with self._lock:
            self.answered.append(prompt_of(request))
        return reply

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up when the test ends."""
        if seconds:
            self._over.wait(min(seconds, threading.TIMEOUT_MAX))

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
            came_too_late = self._http is None
        if came_too_late:
            cut(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


class QuietServer(ThreadingHTTPServer):
    """A server that reports no error when a client goes away."""

    daemon_threads = True
    request_queue_size = 128  # a pool of clients connects at once

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class ApiHandler(BaseHTTPRequestHandler):
    """What all requests share; an API adds `do_GET`, `do_POST` and `chat_body`."""

    state: Any  # the server, of the API's own class
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for the client's acknowledgement

    def setup(self) -> None:
        super().setup()
        self.state.opened(self.connection)

    def finish(self) -> None:
        self.state.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def read_request(self) -> dict[str, Any]:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("cut while the request was read")
        request: dict[str, Any] = json.loads(body)
        return request

    def chat_body(self, request: dict[str, Any], reply: Reply) -> tuple[bytes, str]:
        """Return the body and content type of a good answer, as the API writes them."""
        raise NotImplementedError

    def chat(self, request: dict[str, Any]) -> None:
        """Answer a chat request by the script."""
        reply = self.state.next_reply(request)
        if reply.away_s is not None:
            self.close_connection = True
            self.state.go_away(reply.away_s)
        elif reply.dropped:
            self.close_connection = True
            cut(self.connection)
        elif reply.body is not None:
            secret = self.headers.get("Authorization", "nobody").encode()
            self.send(reply.status, reply.body.replace(AUTHORIZATION, secret), reply.content_type, reply)
        else:
            self.send(reply.status, *self.chat_body(request, reply), reply)

    def send_json(self, status: int, value: object, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), JSON, Reply(headers=headers))

    def send(self, status: int, body: bytes, content_type: str, reply: Reply = Reply()) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.half:
            body = body[: len(body) // 2]
            self.close_connection = True
        if reply.drip_s:
            for byte in body:
                self.state.wait(reply.drip_s)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body)


def prompt_of(request: dict[str, Any]) -> str:
    """Return the last message of a chat request, "" if it has none."""
    return str(request["messages"][-1]["content"]) if request["messages"] else ""


def cut(connection: socket.socket) -> None:
    """End a connection for both sides, even if others hold the socket."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was faster


def unused_host() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
