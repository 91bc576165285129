"""A server that drips byte by byte is stopped at the deadline."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from downloads import SetLimits, failure, pinned
from http_fault_server import FaultServer, drip, hang

from scratchlm.download.sources import Source

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIPPED = OK + b"Content-Encoding: gzip\r\n\r\n"
DRIPS = {
    "status line": drip(b"HTTP/1.1 200 "),
    "header": drip(OK + b"X: "),
    "length of a chunk": drip(CHUNKED, b"0"),
    "trailers after the last chunk": drip(CHUNKED + b"0\r\n", b"x\r\n"),
    "file name in a gzip": drip(GZIPPED + b"\x1f\x8b\x08\x08" + bytes(6)),
    "body": drip(OK + b"\r\n"),
    "redirect": drip(b"HTTP/1.1 302 Found\r\nLocation: /b"),
}


@pytest.mark.parametrize("place", DRIPS)
def test_a_server_that_drips_for_ever_is_stopped_at_the_limit_for_all_urls(
    server: FaultServer, target: Path, place: str, limits: SetLimits
) -> None:
    server.answers["*"] = [DRIPS[place]]
    source = Source("file.bin", (f"{server.url}/a", f"{server.url}/b"))  # size unknown: it may be endless
    start_s = time.monotonic()
    limits(total_s=0.4)
    message = failure(source, target)
    assert 0.4 <= time.monotonic() - start_s < 3.0  # a drip takes 5 s
    assert "/a: not finished within 0.4 s; the next run continues; " in message
    assert "/b: not finished within 0.4 s" in message
    assert [path for path, _ in server.requests] == ["/a"]


def test_a_dripping_proxy_is_stopped_at_the_limit(
    server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch, limits: SetLimits
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan("no-such-host.invalid:443", drip(OK + b"X: "))
    start_s = time.monotonic()
    limits(total_s=0.4)
    message = failure(pinned("https://no-such-host.invalid/a"), target)
    assert "not finished within 0.4 s" in message and time.monotonic() - start_s < 3.0


def test_a_silent_proxy_is_stopped_at_the_limit_for_connecting(
    server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch, limits: SetLimits
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan("no-such-host.invalid:443", hang())
    start_s = time.monotonic()
    limits(connect_s=0.3, read_s=7)
    message = failure(pinned("https://no-such-host.invalid/a"), target)
    assert "no connection (no answer within 0.3 s)" in message and time.monotonic() - start_s < 3.0


def test_a_dripping_handshake_is_stopped_at_the_limit_for_connecting(target: Path, limits: SetLimits) -> None:
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(100)  # part of a server's hello of 16 kB: 5 s

    def drip_bytes(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the client has gone
            for byte in record:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=drip_bytes, args=(listener,)).start()
        source = pinned(f"https://127.0.0.1:{listener.getsockname()[1]}/a")
        start_s = time.monotonic()
        limits(connect_s=0.3, read_s=7)
        message = failure(source, target)
    assert "no connection (no answer within 0.3 s)" in message and time.monotonic() - start_s < 3.0
