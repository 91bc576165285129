"""A deadline for HTTP answers, however slowly their bytes arrive."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError


class Deadline:
    """A moment, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self.end_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return how many seconds are left, 0 when it has passed."""
        return max(0.0, self.end_s - time.monotonic())


class TimedStream(io.RawIOBase):
    """The incoming bytes of a connection, until the deadline.

    A socket's own timeout begins anew with each byte, so a server could send headers byte by byte for ever.
    """

    def __init__(self, stream: io.RawIOBase, connection: socket.socket, deadline: Deadline) -> None:
        self.stream, self.connection, self.deadline = stream, connection, deadline
        silence_s = connection.gettimeout()
        assert silence_s is not None  # every request states one
        self.silence_s = silence_s

    def readable(self) -> bool:
        """Return True: the stream is only read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for the next bytes; raise TimeoutError at the deadline."""
        left_s = self.deadline.left_s()
        if left_s == 0:
            raise TimeoutError
        self.connection.settimeout(min(self.silence_s, left_s))
        return self.stream.readinto(buffer)

    def close(self) -> None:
        """Close the connection's stream too."""
        self.stream.close()
        super().close()


class TimedConnection:
    """A mixin for urllib3's connections that tells a failed connection from a failed answer."""

    def connect(self) -> None:
        """Connect, which includes a proxy's answer and the TLS handshake; raise ConnectTimeoutError if any is too slow.

        urllib3 itself reports the last two as a timeout of the answer, which has a time limit of its own.
        """
        try:
            super().connect()  # type: ignore[misc]
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no answer while connecting") from error


class TimedAdapter(HTTPAdapter):
    """An adapter whose answers, a proxy's included, are read through `TimedStream`."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()

        class TimedResponse(HTTPResponse):
            def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
                super().__init__(sock, *args, **options)
                self.fp = io.BufferedReader(TimedStream(self.fp.detach(), sock, deadline))

        self.response_class = TimedResponse

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the pool of connections for a request; requests calls this."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        plain = type(pool).ConnectionCls
        pool.ConnectionCls = type(plain.__name__, (TimedConnection, plain), {"response_class": self.response_class})
        return pool
