"""Every fault of a download ends in the right file or in one clear error, with nothing half-written."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from http_fault_server import (
    FaultServer,
    blind_range,
    chunked,
    drip,
    endless,
    gzipped,
    hang,
    redirect,
    serve,
    slow,
    status,
    unstated,
    wrong_range,
)

from scratchlm.corpus.collect import collect_corpus
from scratchlm.download import sources
from scratchlm.download.fetch import fetch, fetch_url, opened_source, opened_url, shown
from scratchlm.download.sources import Source
from scratchlm.download.web import GaveUp, Limits, redirected
from scratchlm.errors import InputError

BODY = random.Random(1).randbytes(300_000)
INPUTS = Path("inputs")
OTHER = random.Random(2).randbytes(300_000)
QUICK = Limits(connect_s=1, read_s=0.3, total_s=10, tries=3, backoff_s=0.01)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "file.bin"


def pinned(*urls: str) -> Source:
    return Source("file.bin", urls, len(BODY), hashlib.sha256(BODY).hexdigest())


def failure(source: Source, target: Path, limits: Limits = QUICK) -> str:
    """Return the one line that fetching ends with, having seen that nothing is left at the target."""
    with pytest.raises(InputError) as caught:
        fetch(source, target, limits)
    assert not target.exists()
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


FETCH = """
import resource, sys
from pathlib import Path
from scratchlm.download import fetch_url, fetch
from scratchlm.errors import InputError
from scratchlm.download.sources import Source
from scratchlm.web import Limits

def attempt(source, target):
    try:
        fetch(source, Path(target), Limits(read_s=5, backoff_s=0.01))
    except InputError as error:
        print(error)
"""


def run_python(body: str, *command: str) -> str:
    """Run Python code in a process of its own and return its output."""
    ended = subprocess.run([*command, sys.executable, "-c", FETCH + body], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# --- the way that works -------------------------------------------------------------------------------------


def test_a_good_server_gives_the_file_in_one_request(server: FaultServer, target: Path, capsys: Any) -> None:
    url = server.plan("/a", serve(BODY))
    assert fetch(pinned(url), target, QUICK) == target
    assert target.read_bytes() == BODY
    assert len(server.requests) == 1
    assert server.headers_of("/a")[0]["accept-encoding"] == "identity"
    assert f"file.bin: 300,000 bytes from {url}, sha256 {pinned().sha256}" in capsys.readouterr().err


def test_a_second_fetch_takes_the_cached_file_without_a_request(
    server: FaultServer, target: Path, tmp_path: Path, capsys: Any
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    fetch(source, target, QUICK)
    fetch(source, tmp_path / "again", QUICK)
    assert (tmp_path / "again").read_bytes() == BODY
    assert len(server.requests) == 1
    assert f"from the cache {tmp_path}/cache" in capsys.readouterr().err


def test_editing_the_fetched_file_does_not_change_the_cached_one(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    with fetch(source, target, QUICK).open("r+b") as file:
        file.write(b"edited")
    assert fetch(source, tmp_path / "again", QUICK).read_bytes() == BODY


def test_a_spoilt_cached_file_is_fetched_again(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY)))
    fetch(source, target, QUICK)
    (tmp_path / "cache" / str(source.sha256)).write_bytes(OTHER)
    target.unlink()
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert len(server.requests) == 2


def test_nothing_but_the_verified_file_and_its_lock_stays_in_the_cache(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=1000, etag='"1"'), serve(BODY, etag='"1"')))
    fetch(source, target, QUICK)
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert names - {f"{source.sha256}.lock"} == {source.sha256}


def test_two_processes_download_once(server: FaultServer, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", slow(BODY, wait_s=1.0)))
    code = (
        "import sys; from pathlib import Path; from scratchlm.download.fetch import fetch;"
        f"from scratchlm.download.sources import Source; fetch({source!r}, Path(sys.argv[1]))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)]) for name in ("one", "two")]
    assert [run.wait(timeout=30) for run in runs] == [0, 0]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == BODY
    assert len(server.requests) == 1


def test_a_file_is_fetched_once_for_all_clones_of_a_user(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCRATCHLM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    for clone in ("one", "two"):
        (tmp_path / clone).mkdir()
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / clone))
        monkeypatch.chdir(tmp_path / clone)
        assert run_python(f"attempt({source!r}, 'file.bin')") == ""
        assert Path("file.bin").read_bytes() == BODY
    assert len(server.requests) == 1
    assert (tmp_path / ".cache" / "scratchlm" / str(source.sha256)).is_file()


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
    with suppress(OSError):  # how Linux says that the other end is closed
        while more := os.read(ours, 4096):
            seen += more
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert re.search(rb"file\.bin:  50%\|.*146k/293k \[00:00<\S+, +\S+B/s\]", seen), seen


# --- faults that another try or another URL mends -----------------------------------------------------------


def test_the_next_url_is_used_where_the_first_fails(server: FaultServer, target: Path, capsys: Any) -> None:
    bad, good = server.plan("/bad", serve(OTHER)), server.plan("/good", serve(BODY))
    assert fetch(pinned(bad, good), target, QUICK).read_bytes() == BODY
    assert f"not used: {bad}: sha256" in capsys.readouterr().err


@pytest.mark.parametrize("tenth", range(10))
def test_a_drop_at_any_tenth_of_the_file_is_resumed_there(server: FaultServer, target: Path, tenth: int) -> None:
    cut = len(BODY) * tenth // 10
    source = pinned(server.plan("/a", serve(BODY, drop_after=cut, etag='"1"'), serve(BODY, etag='"1"')))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert server.headers_of("/a")[1].get("range") == (f"bytes={cut}-" if cut else None)


@pytest.mark.parametrize("validators", [{"ETag": '"1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_dropped_body_is_resumed_where_it_stopped(
    server: FaultServer, target: Path, validators: dict[str, Any]
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000, **validators), serve(BODY, **validators)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    first, second = server.headers_of("/a")
    assert "range" not in first
    assert (second["range"], second["if-range"]) == ("bytes=100000-", *validators.values())


def test_a_pinned_file_is_resumed_without_a_validator(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert server.headers_of("/a")[1]["range"] == "bytes=100000-"


def test_drops_do_not_count_as_long_as_each_try_brings_something(server: FaultServer, target: Path) -> None:
    dropping = [serve(BODY, drop_after=30_000)] * 9
    source = pinned(server.plan("/a", *dropping, serve(BODY)))
    assert fetch(source, target, replace(QUICK, tries=2)).read_bytes() == BODY
    assert len(server.requests) == 10


def test_a_later_run_continues_what_an_earlier_one_left(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), status(404)))
    assert "404 not found" in failure(source, target)
    server.plan("/a", serve(BODY))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert server.headers_of("/a")[-1]["range"] == "bytes=200000-"


def test_a_part_that_was_complete_is_verified_without_a_request(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), status(404)))
    failure(source, target)
    with (tmp_path / "cache" / f"{source.sha256}.part").open("ab") as part:
        part.write(BODY[200_000:])
    asked = len(server.requests)
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert len(server.requests) == asked


def test_a_host_lost_in_mid_file_gets_as_many_tries_as_any_other_fault(server: FaultServer, target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        lost = redirect(f"http://127.0.0.1:{unused.getsockname()[1]}/x")
        source = pinned(server.plan("/a", serve(BODY, drop_after=200_000), lost))
        assert "no connection (connection refused)" in failure(source, target, replace(QUICK, tries=4))
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
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert int(server.headers_of("/a")[1]["range"].removeprefix("bytes=").removesuffix("-")) > 0


@pytest.mark.parametrize("record", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"validator": 1}'])
def test_a_damaged_note_on_a_part_starts_from_the_front(
    server: FaultServer, target: Path, tmp_path: Path, record: bytes
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000, etag='"1"'), status(404)))
    failure(source, target)
    (note,) = (tmp_path / "cache").glob("*.part.json")
    note.write_bytes(record)
    server.plan("/a", serve(BODY))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[-1]


def test_another_url_continues_the_part_of_the_first(server: FaultServer, target: Path) -> None:
    first = server.plan("/a", serve(BODY, drop_after=200_000, etag='"a"'), status(404))
    second = server.plan("/b", serve(BODY, etag='"b"'))
    assert fetch(pinned(first, second), target, QUICK).read_bytes() == BODY
    (headers,) = server.headers_of("/b")
    assert headers["range"] == "bytes=200000-"
    assert "if-range" not in headers


def test_an_ignored_range_starts_from_the_front(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), serve(BODY, ranges=False)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_file_changed_between_two_pieces_is_not_mixed(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000, etag='"1"'), serve(BODY, etag='"2"')))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert server.headers_of("/a")[1]["if-range"] == '"1"'
    assert len(server.requests) == 2


def test_a_server_that_gives_a_piece_at_a_time_is_asked_until_the_file_is_whole(
    server: FaultServer, target: Path
) -> None:
    first, pieces = serve(BODY, drop_after=100_000, etag='"1"'), blind_range(BODY, length=50_000, etag='"1"')
    assert fetch_url(server.plan("/a", first, pieces), target, QUICK).read_bytes() == BODY
    assert len(server.requests) == 1 + 4


def test_a_changed_file_of_no_known_hash_is_not_mixed_even_where_if_range_is_ignored(
    server: FaultServer, target: Path
) -> None:
    dropped, blind = serve(OTHER, drop_after=100_000, etag='"1"'), blind_range(BODY, etag='"2"')
    url = server.plan("/a", dropped, blind, serve(BODY, etag='"2"'))
    assert fetch_url(url, target, QUICK).read_bytes() == BODY
    assert ["range" in headers for headers in server.headers_of("/a")] == [False, True, False]


def test_a_file_of_no_known_hash_and_no_validator_is_never_resumed(server: FaultServer, target: Path) -> None:
    url = server.plan("/a", serve(OTHER, drop_after=100_000), serve(BODY))
    assert fetch_url(url, target, QUICK).read_bytes() == BODY
    assert all("range" not in headers for headers in server.headers_of("/a"))


def test_pieces_of_two_files_are_found_by_the_hash_and_downloaded_once_more(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert ["range" in headers for headers in server.headers_of("/a")] == [False, True, False]


def test_a_resumed_file_that_stays_wrong_is_given_up_after_one_restart(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER, drop_after=100_000), serve(OTHER)))
    assert "expected" in failure(source, target)
    assert len(server.requests) == 3


def test_a_refused_range_starts_from_the_front(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), status(416), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[2]


def test_a_wrong_range_is_not_appended(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=100_000), wrong_range(BODY), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[2]


@pytest.mark.parametrize("tenth", range(10))
def test_a_drop_of_a_file_of_unstated_length_is_resumed_there(server: FaultServer, target: Path, tenth: int) -> None:
    cut = len(BODY) * tenth // 10
    source = pinned(server.plan("/a", unstated(BODY[:cut]), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert server.headers_of("/a")[1].get("range") == (f"bytes={cut}-" if cut else None)


def test_a_truncated_chunked_body_is_noticed(server: FaultServer, target: Path) -> None:
    url = server.plan("/a", chunked(BODY[:1000], whole=False), chunked(BODY, whole=True))
    assert fetch_url(url, target, QUICK).read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_server_error_is_tried_again(server: FaultServer, target: Path, code: int) -> None:
    source = pinned(server.plan("/a", status(code), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY


def test_each_fruitless_try_is_waited_for_longer(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", *[status(503)] * 3, serve(BODY)))
    start_s = time.monotonic()
    fetch(source, target, replace(QUICK, tries=4, backoff_s=0.1))
    assert 0.05 + 0.1 + 0.2 <= time.monotonic() - start_s < 0.1 + 0.2 + 0.4 + 1.0  # half of each pause is by chance


def test_retry_after_is_waited_for(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="1"), serve(BODY)))
    start_s = time.monotonic()
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert 1.0 <= time.monotonic() - start_s < 3.0


def test_a_long_retry_after_is_not_waited_for(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="3600"), serve(BODY)))
    assert "429 too many requests, asks to wait 3,600 s" in failure(source, target)
    assert len(server.requests) == 1


def test_a_compressed_body_is_unpacked(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", gzipped(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY


def test_a_dropped_compressed_body_is_not_resumed(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", gzipped(BODY, drop_after=100_000), serve(BODY)))
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert "range" not in server.headers_of("/a")[1]


def test_redirects_are_followed(server: FaultServer, target: Path) -> None:
    server.plan("/b", redirect("c"))
    server.plan("/c", serve(BODY))
    assert fetch(pinned(server.plan("/a", redirect("/b"))), target, QUICK).read_bytes() == BODY


def test_the_body_of_a_redirect_is_not_waited_for(server: FaultServer, target: Path) -> None:
    server.plan("/b", serve(BODY))
    source = pinned(server.plan("/a", endless(b"x" * 1000, pause_s=0, code=302, Location="/b")))
    assert fetch(source, target, QUICK).read_bytes() == BODY


# --- faults that nothing mends ------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(404, "404 not found"), (403, "403 forbidden"), (460, "460")])
def test_a_refusal_is_not_tried_again(server: FaultServer, target: Path, code: int, reason: str) -> None:
    source = pinned(server.plan("/a", status(code), serve(BODY)))
    assert f"{source.urls[0]}: {reason};" in failure(source, target)
    assert len(server.requests) == 1


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


def test_a_body_of_unknown_size_is_bounded(server: FaultServer, target: Path) -> None:
    source = Source("file.bin", (server.plan("/a", endless(BODY, pause_s=0)),))
    assert "size more than 1,000,000 bytes" in failure(source, target, replace(QUICK, max_bytes=1_000_000))
    source = Source("file.bin", (server.plan("/b", serve(BODY)),))
    assert "size 300,000, at most 1,000" in failure(source, target, replace(QUICK, max_bytes=1_000))


def test_a_compressed_bomb_is_cut_off(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", gzipped(bytes(50_000_000))))
    assert "size more than 300,000 bytes" in failure(source, target)
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_wrong_content_names_both_hashes(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", serve(OTHER)))
    assert f"sha256 {hashlib.sha256(OTHER).hexdigest()}, expected {source.sha256}" in failure(source, target)
    assert len(server.requests) == 1
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_a_redirect_loop_ends(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", redirect("/b")))
    server.plan("/b", redirect("/a"))
    assert "more than 10 redirects" in failure(source, target)
    assert len(server.requests) == 11


def test_a_redirect_out_of_the_web_is_refused(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", redirect("file:///etc/hostname")))
    assert "redirects from http to file: refused" in failure(source, target)


def test_a_redirect_to_no_url_is_refused(server: FaultServer, target: Path) -> None:
    assert "no URL" in failure(pinned(server.plan("/a", redirect("http://[broken/"))), target)


def test_redirects_never_lead_from_https_to_http() -> None:
    with pytest.raises(GaveUp, match="redirects from https to http: refused"):
        redirected("https://a.example/x", "http://a.example/x")
    assert redirected("http://a.example/x", "https://a.example/y") == "https://a.example/y"
    assert redirected("https://a.example/d/x", "y?z=1") == "https://a.example/d/y?z=1"


def test_a_silent_server_is_given_up(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", hang()))
    assert "no answer within 0.3 s" in failure(source, target)
    assert len(server.requests) == QUICK.tries


def test_a_host_that_does_not_take_the_connection_is_given_up(target: Path) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # a queue of one, which nobody serves: further connections are not answered
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        source = pinned(f"http://127.0.0.1:{full.getsockname()[1]}/a")
        assert "no connection (no answer within 0.2 s)" in failure(source, target, replace(QUICK, connect_s=0.2))


def test_a_body_that_falls_silent_is_resumed_then_given_up(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", hang(BODY[:1000], len(BODY))))
    assert "silent for 0.3 s in mid-file" in failure(source, target)
    assert "range" in server.headers_of("/a")[1]


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
def test_a_server_that_drips_for_ever_ends_with_the_time_allowed_for_all_urls_together(
    server: FaultServer, target: Path, place: str
) -> None:
    server.answers["*"] = [DRIPS[place]]
    source = Source("file.bin", (f"{server.url}/a", f"{server.url}/b"))  # no size known: as long as it likes
    start_s = time.monotonic()
    message = failure(source, target, replace(QUICK, total_s=0.4))
    assert 0.4 <= time.monotonic() - start_s < 3.0  # a drip takes 5 s
    assert "/a: not finished within 0.4 s; the next run continues; " in message
    assert "/b: not finished within 0.4 s" in message
    assert [path for path, _ in server.requests] == ["/a"]


def test_a_dripping_proxy_ends_with_the_time_allowed(
    server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan("no-such-host.invalid:443", drip(OK + b"X: "))
    start_s = time.monotonic()
    message = failure(pinned("https://no-such-host.invalid/a"), target, replace(QUICK, total_s=0.4))
    assert "not finished within 0.4 s" in message and time.monotonic() - start_s < 3.0


def test_a_dripping_handshake_ends_with_the_time_to_connect(target: Path) -> None:
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(100)  # a server's hello of 16 kB, of which 5 s come

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
        message = failure(source, target, replace(QUICK, connect_s=0.3, tries=1))
    assert "no answer within 0.3 s" in message and time.monotonic() - start_s < 3.0


def test_a_wait_that_the_time_does_not_allow_is_not_begun(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", status(429, Retry_After="5"), serve(BODY)))
    start_s = time.monotonic()
    assert "429 too many requests" in failure(source, target, replace(QUICK, total_s=4))
    assert time.monotonic() - start_s < 3.0


def test_a_download_of_another_process_is_waited_for_no_longer_than_allowed(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY)))
    start_s = time.monotonic()
    with FileLock(tmp_path / "cache" / f"{source.sha256}.lock"):
        message = failure(source, target, replace(QUICK, total_s=0.3))
    assert "another process has been downloading it for 0.3 s" in message and server.requests == []
    assert 0.3 <= time.monotonic() - start_s < 2.0
    assert fetch(source, target, QUICK).read_bytes() == BODY


def test_without_a_network_all_urls_and_both_ways_out_are_named_within_seconds(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        unknown = "https://no-such-host.invalid/x"
        start_s = time.monotonic()
        message = failure(pinned(unknown, refusing), target, Limits())
    assert time.monotonic() - start_s < 8.0
    assert f"{unknown}: no connection (name not resolved)" in message
    assert f"{refusing}: no connection (connection refused)" in message
    assert "set SCRATCHLM_MIRROR to a folder or URL that holds file.bin" in message
    assert "make profile P=sample" in message


@pytest.mark.parametrize("url", ["ftp://host/x", "no url", "https://", "http://[broken", ""])
def test_what_is_no_url_is_refused(url: str, target: Path) -> None:
    with pytest.raises(InputError, match=re.escape(repr(url))):
        fetch_url(url, target)


def test_a_host_name_that_cannot_be_is_one_clear_line(target: Path) -> None:
    with pytest.raises(InputError, match="cannot get x: "):
        fetch_url(f"http://{'a' * 70}.example/x", target, QUICK)


def test_a_password_in_a_url_is_not_shown(server: FaultServer, target: Path, capsys: Any) -> None:
    secret = server.plan("/a", serve(BODY)).replace("//", "//me:secret@")
    fetch_url(secret, target, QUICK)
    fetch_failure = secret.replace("/a", "/none")
    with pytest.raises(InputError) as caught:
        fetch_url(fetch_failure, target, QUICK)
    assert "secret" not in str(caught.value) + capsys.readouterr().err
    assert "authorization" in server.headers_of("/a")[0]


def test_an_older_file_at_the_target_survives_a_failure(server: FaultServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(InputError):
        fetch(pinned(server.plan("/a", serve(OTHER))), target, QUICK)
    assert target.read_text() == "mine"


def test_a_cache_that_is_no_folder_is_named(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "file" / "cache"))
    message = failure(pinned("http://127.0.0.1/x"), target)
    assert f"cannot write {tmp_path}/file" in message
    assert "SCRATCHLM_CACHE" in message


# --- a disk without room ------------------------------------------------------------------------------------


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
    assert fetch(source, target, QUICK).read_bytes() == BODY
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


def test_a_file_larger_than_the_disk_is_not_begun(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = Source("file.bin", (server.plan("/a", hang(b"first", 10**17)),))
    message = failure(source, target, replace(QUICK, max_bytes=10**18))
    assert f"no space left in {tmp_path}/cache: 100,000,000,000,000,000 bytes are needed, " in message
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_target_on_a_full_disk_is_named_and_the_verified_file_kept(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    fetch(source, tmp_path / "first", QUICK)
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    message = run_python(f"{limit}\nattempt({source!r}, {str(target)!r})")
    assert message == f"no space left in {target.parent}: 300,000 bytes are needed (File too large)\n"
    assert list(target.parent.iterdir()) == []
    assert fetch(source, target, QUICK).read_bytes() == BODY


# --- the environment's certificates, proxies and passwords ----------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and its key in one file, which nobody trusts unless told to."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(made, check=True, capture_output=True)
    return folder


@pytest.fixture
def secure_server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "pem", certificate / "key")
    with FaultServer(context) as running:
        yield running


def test_a_certificate_that_nobody_vouches_for_is_refused_with_a_hint(secure_server: FaultServer, target: Path) -> None:
    source = pinned(secure_server.plan("/a", serve(BODY)))
    message = failure(source, target)
    assert "no safe connection (certificate refused: self" in message
    assert "behind a company's proxy, set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to its file of certificates" in message
    assert secure_server.requests == []


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environments_certificates_are_trusted(
    secure_server: FaultServer, target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(certificate / "pem"))
    assert fetch(pinned(secure_server.plan("/a", serve(BODY))), target, QUICK).read_bytes() == BODY


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_file_of_certificates_that_is_not_there_is_named(
    secure_server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/nowhere/ca.pem")
    assert "/nowhere/ca.pem" in failure(pinned(secure_server.plan("/a", serve(BODY))), target)


def test_a_redirect_from_https_to_http_is_refused(
    secure_server: FaultServer, server: FaultServer, target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "pem"))
    source = pinned(secure_server.plan("/a", redirect(server.plan("/b", serve(BODY)))))
    assert "redirects from https to http: refused" in failure(source, target)
    assert server.requests == []


def test_the_environments_proxy_is_asked(server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan("http://no-such-host.invalid/a", serve(BODY))
    assert fetch(pinned("http://no-such-host.invalid/a"), target, QUICK).read_bytes() == BODY


def test_a_proxy_that_is_not_there_is_named_without_its_password(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        message = failure(pinned("http://no-such-host.invalid/a"), target)
    assert "no connection (proxy not reachable)" in message and "secret" not in message


def test_a_password_is_not_sent_where_a_redirect_leads(server: FaultServer, target: Path) -> None:
    with FaultServer() as other:
        secret = server.plan("/a", redirect(other.plan("/b", serve(BODY)))).replace("//", "//me:secret@")
        fetch_url(secret, target, QUICK)
        assert "authorization" in server.headers_of("/a")[0]
        assert "authorization" not in other.headers_of("/b")[0]


def test_a_password_stands_in_netrc(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch_url(server.plan("/a", serve(BODY)), target, QUICK)
    assert server.headers_of("/a")[0]["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://host/a/b.txt", "https://host/a/b.txt"),
        ("https://me@host/a", "https://host/a"),
        ("https://me:secret@host/a", "https://host/a"),
        ("https://me:secr@et@host/a", "https://host/a"),
        ("https://me:secr/et@host/a", "https://host/a"),
        ("https://:secret@host/a", "https://host/a"),
        ("https://host/a?key=secret", "https://host/a?..."),
        ("https://host/a#secret", "https://host/a?..."),
        ("https://host:8080/a", "https://host:8080/a"),
        ("https://host:8080/@a", "https://host:8080/@a"),
        ("https://host/@a/b", "https://host/@a/b"),
    ],
)
def test_a_url_is_printed_without_what_may_be_secret(url: str, printed: str) -> None:
    assert shown(url) == printed


def test_a_secret_reaches_no_message_and_no_file(
    server: FaultServer, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    host = server.url.removeprefix("http://")
    server.plan("/a?key=secret1", serve(b"\xff", drop_after=0, etag='"1"'), serve(b"\xff", etag='"1"'))
    server.plan("/r", redirect(f"http://me:secret2@{host}/none?key=secret1"))
    server.plan("/broken", redirect("http://me:secret2@[broken/?key=secret1"))
    said = ""
    for url in (
        f"http://me:secret2@{host}/a?key=secret1",
        f"http://me:secret2@{host}/r",
        f"http://me:secret2@{host}/broken",
        "ftp://me:secret2@host/a?key=secret1",
        "http://me:secret2@[broken/a?key=secret1",
        "http://me:secret2/a@host/a?key=secret1",
        "http://me:secret2@host:99999/a?key=secret1",
        "http://me:secret2@no-such-host.invalid/a?key=secret1",
    ):
        with pytest.raises(InputError) as caught:
            collect_corpus(url, tmp_path / "corpus", INPUTS)
        said += str(caught.value)
    printed = capsys.readouterr()
    assert "secret" not in said + printed.out + printed.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(b"secret" in path.read_bytes() for path in written)


# --- files nobody pinned ------------------------------------------------------------------------------------


def test_a_users_own_url_is_accepted_with_its_hash_printed_and_asked_again_next_time(
    server: FaultServer, target: Path, capsys: Any
) -> None:
    url = server.plan("/my%20text.txt", serve(BODY), serve(OTHER))
    assert fetch_url(url, target, QUICK).read_bytes() == BODY
    err = capsys.readouterr().err
    assert err.startswith("my text.txt: 300,000 bytes")
    assert f"sha256 {hashlib.sha256(BODY).hexdigest()}" in err
    assert fetch_url(url, target, QUICK).read_bytes() == OTHER


def hub(server: FaultServer, body: bytes) -> Source:
    """Return an unpinned checkpoint whose host vouches for BODY and whose storage gives `body`."""
    linked = f'"{hashlib.sha256(BODY).hexdigest()}"'
    storage = server.plan("/storage", serve(body))
    url = server.plan(f"/resolve/{'a' * 40}/model.safetensors", redirect(storage, X_Linked_Etag=linked))
    return Source("gpt2-355M.safetensors", (url,))


def test_the_hosts_own_hash_refuses_another_content(server: FaultServer, target: Path) -> None:
    assert f"expected {hashlib.sha256(BODY).hexdigest()}" in failure(hub(server, OTHER), target)


def test_a_file_the_host_vouches_for_at_a_commit_is_never_fetched_twice(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = hub(server, BODY)
    fetch(source, target, QUICK)
    asked = len(server.requests)
    assert fetch(source, tmp_path / "again", QUICK).read_bytes() == BODY
    assert len(server.requests) == asked == 2


# --- mirrors ------------------------------------------------------------------------------------------------


def test_a_mirror_folder_is_looked_in_first_and_needs_no_cache(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.bin").write_bytes(BODY)
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path / "mirror"))
    assert fetch(pinned(server.plan("/a", serve(BODY))), target, QUICK).read_bytes() == BODY
    assert server.requests == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("root_from", ["cwd", "DVC_ROOT"])
def test_a_relative_mirror_is_relative_to_the_repository(
    root_from: str, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.bin").write_bytes(BODY)
    (tmp_path / "repository").mkdir()
    (tmp_path / "elsewhere" / "temp").mkdir(parents=True)
    if root_from == "DVC_ROOT":
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    monkeypatch.chdir(tmp_path / ("repository" if root_from == "cwd" else "elsewhere/temp"))
    monkeypatch.setenv("SCRATCHLM_MIRROR", "../mirror")
    assert fetch(pinned(), target, QUICK).read_bytes() == BODY


def test_a_mirror_may_be_a_base_url(server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan("/files/sms%2Bspam.zip", serve(BODY))
    monkeypatch.setenv("SCRATCHLM_MIRROR", f"{server.url}/files/")
    source = replace(pinned(server.plan("/a", serve(BODY))), name="sms+spam.zip")
    assert fetch(source, target, QUICK).read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/files/sms%2Bspam.zip"]


def test_a_corrupt_mirror_file_is_reported_and_the_url_used(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "file.bin").write_bytes(BODY[:-1] + b"!")
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    assert fetch(pinned(server.plan("/a", serve(BODY))), target, QUICK).read_bytes() == BODY
    assert f"error: not used: {tmp_path}/file.bin (mirror): sha256" in capsys.readouterr().err


def test_a_mirror_without_the_file_is_named_among_the_places_tried(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path / "none"))
    message = failure(pinned(server.plan("/a", status(404))), target)
    assert f"{tmp_path}/none/file.bin (mirror): no such file" in message
    assert "/a: 404 not found" in message


# --- a file that comes in a zip -----------------------------------------------------------------------------


def test_a_member_is_taken_out_of_its_zip_where_it_lies_nowhere_itself(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file.bin", BODY)
    packed = (tmp_path / "a.zip").read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    zip_source = Source("a.zip", (server.plan("/a.zip", serve(packed)),), len(packed), digest)
    assert fetch(replace(pinned(), archive=zip_source), target, QUICK).read_bytes() == BODY
    target.unlink()
    other = replace(pinned(), archive=zip_source, sha256="0" * 64)
    assert "a.zip" in (message := failure(other, target)) and "expected 000" in message


def test_a_zip_that_cannot_be_had_is_named_in_the_one_line(server: FaultServer, target: Path) -> None:
    zip_source = Source("a.zip", (server.plan("/a.zip", status(404)),), 10, "0" * 64)
    assert f"{server.url}/a.zip: 404 not found" in failure(replace(pinned(), archive=zip_source), target)


# --- the list of sources ------------------------------------------------------------------------------------


def test_every_source_has_its_own_name_and_https_urls() -> None:
    assert len({source.name for source in sources.ALL}) == len(sources.ALL)
    for source in sources.ALL:
        assert source.urls or source.archive
        assert all(url.startswith("https://") for url in source.urls)
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)


@pytest.mark.mirror
def test_every_pinned_source_in_the_real_mirror_verifies(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(mirror))
    present = [source for source in sources.ALL if source.sha256 and (mirror / source.name).exists()]
    assert {"the-verdict.txt", "SMSSpamCollection"} <= {source.name for source in present}
    for source in present:
        path = fetch(replace(source, urls=(), archive=None), tmp_path / source.name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256


def test_a_users_own_url_is_not_taken_from_the_mirror_by_name(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(OTHER)
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    assert fetch_url(server.plan("/a", serve(BODY)), target, QUICK).read_bytes() == BODY


def test_the_way_out_for_a_users_own_url_is_a_path(server: FaultServer, target: Path) -> None:
    with pytest.raises(InputError, match="404 not found; download it yourself and give its path instead"):
        fetch_url(server.plan("/a", status(404)), target, QUICK)


def test_a_users_url_is_opened_under_its_own_name_and_errors_show_the_url(server: FaultServer) -> None:
    url = server.plan("/table.csv?raw=1", serve(BODY))
    with opened_url(url) as path:
        assert path.name == "table.csv"
        assert path.read_bytes() == BODY
    assert not path.exists()
    again = server.plan("/other.csv", serve(BODY))
    with pytest.raises(InputError, match=r"/other\.csv, line 1: wrong") as error, opened_url(again) as path:
        raise InputError(f"{path}, line 1: wrong")
    assert str(error.value).startswith(server.url)


def test_a_users_path_is_relative_to_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "table.csv").touch()
    with opened_source("mine/table.csv", {}, INPUTS, "stage") as path:
        assert path == tmp_path / "mine" / "table.csv"


def test_a_known_source_is_opened_by_its_parameter(server: FaultServer) -> None:
    with opened_source("book", {"book": pinned(server.plan("/a", serve(BODY)))}, INPUTS, "stage") as path:
        assert path.read_bytes() == BODY


def test_an_unknown_users_home_is_a_clear_error() -> None:
    with (
        pytest.raises(InputError, match="there is no such user's home"),
        opened_source("~nobody-here/x", {}, INPUTS, "stage"),
    ):
        pass
