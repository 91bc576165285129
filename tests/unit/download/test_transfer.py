"""Every fault during a download ends in the right bytes or in one clear error, with nothing half-written."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downloads import BODY, FETCH, OTHER, QUICK, SetLimits, failure, pinned, run_python
from http_fault_server import (
    FaultServer,
    blind_range,
    chunked,
    endless,
    gzipped,
    hang,
    redirect,
    serve,
    status,
    unstated,
    wrong_range,
)

from scratchlm.download.fetch import fetch, fetch_url
from scratchlm.download.sources import Source


def test_a_terminal_sees_size_share_rate_and_time_left(server: FaultServer, target: Path) -> None:
    # Half of the file, then a second of nothing: the bar is drawn in between.
    half = serve(BODY, drop_after=150_000, etag='"1"')
    source = pinned(server.plan("/a", half, status(429, Retry_After="1"), serve(BODY, etag='"1"')))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-c", FETCH + f"attempt({source!r}, {str(target)!r})"]
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}
    process = subprocess.Popen(command, stderr=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # Linux's error for a closed other end
        while more := os.read(ours, 4096):
            seen += more
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert re.search(rb"file\.bin:  50%\|.*146k/293k \[00:00<\S+, +\S+B/s\]", seen), seen


@pytest.mark.parametrize("tenth", range(10))
def test_a_drop_at_any_tenth_of_the_file_is_resumed_there(server: FaultServer, target: Path, tenth: int) -> None:
    cut = len(BODY) * tenth // 10
    source = pinned(server.plan("/a", serve(BODY, drop_after=cut, etag='"1"'), serve(BODY, etag='"1"')))
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[1].get("range") == (f"bytes={cut}-" if cut else None)


@pytest.mark.parametrize("validators", [{"ETag": '"1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_dropped_body_is_resumed_where_it_stopped(
    server: FaultServer, target: Path, validators: dict[str, Any]
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000, **validators), serve(BODY, **validators)))
    assert fetch(source, target).read_bytes() == BODY
    first, second = server.headers_of("/a")
    assert "range" not in first
    assert (second["range"], second["if-range"]) == ("bytes=100000-", *validators.values())


def test_a_pinned_file_is_resumed_without_a_validator(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[1]["range"] == "bytes=100000-"


def test_drops_do_not_count_as_long_as_each_try_brings_new_bytes(
    server: FaultServer, target: Path, limits: SetLimits
) -> None:
    dropping = [serve(BODY, drop_after=30_000)] * 9
    source = pinned(server.plan("/a", *dropping, serve(BODY)))
    limits(tries=2)
    assert fetch(source, target).read_bytes() == BODY
    assert len(server.requests) == 10


def test_a_later_run_continues_the_part_of_an_earlier_one(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), status(404)))
    assert "404 not found" in failure(source, target)
    server.plan("/a", serve(BODY))
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[-1]["range"] == "bytes=200000-"


def test_a_part_that_was_complete_is_verified_without_a_request(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), status(404)))
    failure(source, target)
    with (tmp_path / "cache" / f"{source.sha256}.part").open("ab") as part:
        part.write(BODY[200_000:])
    asked = len(server.requests)
    assert fetch(source, target).read_bytes() == BODY
    assert len(server.requests) == asked


def test_a_host_lost_in_mid_file_gets_as_many_tries_as_any_other_fault(
    server: FaultServer, target: Path, limits: SetLimits
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        lost = redirect(f"http://127.0.0.1:{unused.getsockname()[1]}/x")
        source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), lost))
        limits(tries=4)
        assert "no connection (connection refused)" in failure(source, target)
    assert len(server.requests) == 1 + 4


def test_a_killed_process_leaves_its_part_to_the_next_one(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", hang(BODY[:100_000], len(BODY)), serve(BODY)))
    body = f"attempt({source!r}, {str(target)!r})"
    process = subprocess.Popen([sys.executable, "-c", FETCH + body])
    part = tmp_path / "cache" / f"{source.sha256}.part"
    try:
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL and not target.exists()
    assert fetch(source, target).read_bytes() == BODY
    assert int(server.headers_of("/a")[1]["range"].removeprefix("bytes=").removesuffix("-")) > 0


@pytest.mark.parametrize("record", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"validator": 1}'])
def test_a_part_with_a_damaged_record_starts_from_the_front(
    server: FaultServer, target: Path, tmp_path: Path, record: bytes
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000, etag='"1"'), status(404)))
    failure(source, target)
    (note,) = (tmp_path / "cache").glob("*.part.json")
    note.write_bytes(record)
    server.plan("/a", serve(BODY))
    assert fetch(source, target).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[-1]


def test_another_url_continues_the_part_of_the_first(server: FaultServer, target: Path) -> None:
    first = server.plan("/a", serve(BODY, drop_after=200_000, etag='"a"'), status(404))
    second = server.plan("/b", serve(BODY, etag='"b"'))
    assert fetch(pinned(first, second), target).read_bytes() == BODY
    (headers,) = server.headers_of("/b")
    assert headers["range"] == "bytes=200000-"
    assert "if-range" not in headers


def test_an_ignored_range_starts_from_the_front(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), serve(BODY, ranges=False)))
    assert fetch(source, target).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_file_changed_between_two_pieces_is_not_mixed(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000, etag='"1"'), serve(BODY, etag='"2"')))
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[1]["if-range"] == '"1"'
    assert len(server.requests) == 2


def test_a_server_that_gives_a_piece_at_a_time_is_asked_until_the_file_is_whole(
    server: FaultServer, target: Path
) -> None:
    first, pieces = serve(BODY, drop_after=100_000, etag='"1"'), blind_range(BODY, length=50_000, etag='"1"')
    assert fetch_url(server.plan("/a", first, pieces), target).read_bytes() == BODY
    assert len(server.requests) == 1 + 4


def test_a_changed_file_of_unknown_hash_is_not_mixed_even_if_if_range_is_ignored(
    server: FaultServer, target: Path
) -> None:
    dropped, blind = serve(OTHER, drop_after=100_000, etag='"1"'), blind_range(BODY, etag='"2"')
    url = server.plan("/a", dropped, blind, serve(BODY, etag='"2"'))
    assert fetch_url(url, target).read_bytes() == BODY
    assert ["range" in headers for headers in server.headers_of("/a")] == [False, True, False]


def test_a_file_of_unknown_hash_without_validator_is_never_resumed(server: FaultServer, target: Path) -> None:
    url = server.plan("/a", serve(OTHER, drop_after=100_000), serve(BODY))
    assert fetch_url(url, target).read_bytes() == BODY
    assert all("range" not in headers for headers in server.headers_of("/a"))


def test_pieces_of_two_files_are_found_by_the_hash_and_downloaded_once_more(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert ["range" in headers for headers in server.headers_of("/a")] == [False, True, False]


def test_a_resumed_file_that_stays_wrong_is_given_up_after_one_restart(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000), serve(OTHER)))
    assert "expected" in failure(source, target)
    assert len(server.requests) == 3


def test_a_refused_range_starts_from_the_front(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), status(416), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[2]


def test_a_wrong_range_is_not_appended(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), wrong_range(BODY), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[2]


@pytest.mark.parametrize("tenth", range(10))
def test_a_drop_of_a_file_of_unstated_length_is_resumed_there(server: FaultServer, target: Path, tenth: int) -> None:
    cut = len(BODY) * tenth // 10
    source = pinned(server.plan("/a", unstated(BODY[:cut]), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[1].get("range") == (f"bytes={cut}-" if cut else None)


def test_a_truncated_chunked_body_is_noticed(server: FaultServer, target: Path) -> None:
    url = server.plan("/a", chunked(BODY[:1000], whole=False), chunked(BODY, whole=True))
    assert fetch_url(url, target).read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_server_error_is_tried_again(server: FaultServer, target: Path, code: int) -> None:
    source = pinned(server.plan("/a", status(code), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY


def test_the_pause_grows_with_each_fruitless_try(server: FaultServer, target: Path, limits: SetLimits) -> None:
    source = pinned(server.plan("/a", *[status(503)] * 3, serve(BODY)))
    start_s = time.monotonic()
    limits(tries=4, backoff_s=0.1)
    fetch(source, target)
    assert 0.05 + 0.1 + 0.2 <= time.monotonic() - start_s < 0.1 + 0.2 + 0.4 + 1.0  # half of each pause is random


def test_retry_after_is_respected(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="1"), serve(BODY)))
    start_s = time.monotonic()
    assert fetch(source, target).read_bytes() == BODY
    assert 1.0 <= time.monotonic() - start_s < 3.0


def test_a_long_retry_after_ends_the_download(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="3600"), serve(BODY)))
    assert "429 too many requests, asks to wait 3,600 s" in failure(source, target)
    assert len(server.requests) == 1


def test_a_compressed_body_is_unpacked(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", gzipped(BODY)))
    assert fetch(source, target).read_bytes() == BODY


def test_a_dropped_compressed_body_is_not_resumed(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", gzipped(BODY, drop_after=100_000), serve(BODY)))
    assert fetch(source, target).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[1]


def test_a_lasting_server_error_is_given_up_after_the_stated_tries(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(500)))
    assert "500 internal server error" in failure(source, target)
    assert len(server.requests) == QUICK.tries


def test_a_wrong_stated_length_ends_before_the_body(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", hang(b"captive", 14)))
    assert "size 14, expected 300,000" in failure(source, target)
    assert len(server.requests) == 1


def test_a_body_short_of_the_size_is_refused(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", chunked(BODY[:10], whole=True)))
    assert "size 10, expected 300,000" in failure(source, target)


def test_a_body_beyond_the_size_is_cut_off(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", endless(BODY, pause_s=0)))
    assert "size more than 300,000 bytes" in failure(source, target)


def test_a_body_of_unknown_size_is_bounded(server: FaultServer, target: Path, limits: SetLimits) -> None:
    source = Source("file.bin", (server.plan("/a", endless(BODY, pause_s=0)),))
    limits(max_bytes=1_000_000)
    assert "size more than 1,000,000 bytes" in failure(source, target)
    source = Source("file.bin", (server.plan("/b", serve(BODY)),))
    limits(max_bytes=1_000)
    assert "size 300,000, at most 1,000" in failure(source, target)


def test_a_compressed_bomb_is_cut_off(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", gzipped(bytes(50_000_000))))
    assert "size more than 300,000 bytes" in failure(source, target)
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_wrong_content_names_both_hashes(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER)))
    assert f"sha256 {hashlib.sha256(OTHER).hexdigest()}, expected {source.sha256}" in failure(source, target)
    assert len(server.requests) == 1
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_a_body_that_stops_midway_is_resumed_and_then_given_up(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", hang(BODY[:1000], len(BODY))))
    assert "silent for 0.3 s in mid-file" in failure(source, target)
    assert "range" in server.headers_of("/a")[1]


def test_a_wait_beyond_the_deadline_is_not_begun(server: FaultServer, target: Path, limits: SetLimits) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="5"), serve(BODY)))
    start_s = time.monotonic()
    limits(total_s=4)
    assert "429 too many requests" in failure(source, target)
    assert time.monotonic() - start_s < 3.0


@pytest.mark.parametrize("size_known", [True, False])
def test_a_limit_on_file_size_says_where_and_how_much_and_then_it_goes_on(
    server: FaultServer, target: Path, tmp_path: Path, size_known: bool
) -> None:
    source = pinned(server.plan("/a", serve(BODY, etag='"1"')))
    source = source if size_known else replace(source, size_bytes=None)
    message = run_python(
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nattempt({source!r}, {str(target)!r})"
    )
    assert message.startswith(f"no space left in {tmp_path}/cache: 300,000 bytes are needed (File too large);")
    assert "SCRATCHLM_CACHE can name another folder" in message
    assert not target.exists()
    assert fetch(source, target).read_bytes() == BODY
    assert server.headers_of("/a")[1]["range"] == "bytes=100000-"


def test_a_full_disk_says_where_and_how_much_and_then_it_goes_on(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pinned(server.plan("/a", serve(BODY, etag='"1"')))
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("SCRATCHLM_CACHE", str(disk))
    mount = f"mount -t tmpfs -o size=200k none '{disk}' && exec \"$@\""
    command = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "-")
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here (unshare --map-root-user --mount)")
    small = f"attempt({source!r}, {str(target)!r})"
    room = f"subprocess.run(['mount', '-o', 'remount,size=1m', {str(disk)!r}], check=True)"
    said = run_python(f"import subprocess\n{small}\n{room}\n{small}", *command)
    assert said.startswith(f"no space left in {disk}: 300,000 bytes are needed, ")
    assert " are free; SCRATCHLM_CACHE can name another folder" in said and len(said.splitlines()) == 1
    assert target.read_bytes() == BODY


def test_a_file_larger_than_the_disk_is_not_begun(
    server: FaultServer, target: Path, tmp_path: Path, limits: SetLimits
) -> None:
    source = Source("file.bin", (server.plan("/a", hang(b"first", 10**17)),))
    limits(max_bytes=10**18)
    message = failure(source, target)
    assert f"no space left in {tmp_path}/cache: 100,000,000,000,000,000 bytes are needed, " in message
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_target_on_a_full_disk_is_named_and_the_verified_file_kept(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    fetch(source, tmp_path / "first")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    message = run_python(f"{limit}\nattempt({source!r}, {str(target)!r})")
    assert message == f"no space left in {target.parent}: 300,000 bytes are needed (File too large)\n"
    assert list(target.parent.iterdir()) == []
    assert fetch(source, target).read_bytes() == BODY
