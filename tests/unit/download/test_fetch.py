"""The mirror, the cache, the URLs: where a file comes from, and one clear error if it comes from nowhere."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downloads import BODY, OTHER, SetLimits, failure, pinned, run_python
from filelock import FileLock
from http_fault_server import FaultServer, redirect, serve, slow, status

from scratchlm.corpus.collect import collect_corpus
from scratchlm.download.fetch import fetch, fetch_url, opened_source, opened_url, shown
from scratchlm.download.sources import Source
from scratchlm.download.web import LIMITS
from scratchlm.errors import InputError

INPUTS = Path("inputs")


def test_a_good_server_gives_the_file_in_one_request(server: FaultServer, target: Path, capsys: Any) -> None:
    url = server.plan("/a", serve(BODY))
    assert fetch(pinned(url), target) == target
    assert target.read_bytes() == BODY
    assert len(server.requests) == 1
    assert server.headers_of("/a")[0]["accept-encoding"] == "identity"
    assert f"file.bin: 300,000 bytes from {url}, sha256 {pinned().sha256}" in capsys.readouterr().err


def test_a_second_fetch_takes_the_cached_file_without_a_request(
    server: FaultServer, target: Path, tmp_path: Path, capsys: Any
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    fetch(source, target)
    fetch(source, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == BODY
    assert len(server.requests) == 1
    assert f"from the cache {tmp_path}/cache" in capsys.readouterr().err


def test_editing_the_fetched_file_does_not_change_the_cached_one(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY), status(404)))
    with fetch(source, target).open("r+b") as file:
        file.write(b"edited")
    assert fetch(source, tmp_path / "again").read_bytes() == BODY


def test_a_damaged_cached_file_is_fetched_again(server: FaultServer, target: Path, tmp_path: Path) -> None:
    source = pinned(server.plan("/a", serve(BODY)))
    fetch(source, target)
    (tmp_path / "cache" / str(source.sha256)).write_bytes(OTHER)
    target.unlink()
    assert fetch(source, target).read_bytes() == BODY
    assert len(server.requests) == 2


def test_nothing_but_the_verified_file_and_its_lock_stays_in_the_cache(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = pinned(server.plan("/a", serve(BODY, drop_after=1000, etag='"1"'), serve(BODY, etag='"1"')))
    fetch(source, target)
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


def test_the_next_url_is_used_if_the_first_fails(server: FaultServer, target: Path, capsys: Any) -> None:
    bad, good = server.plan("/bad", serve(OTHER)), server.plan("/good", serve(BODY))
    assert fetch(pinned(bad, good), target).read_bytes() == BODY
    assert f"not used: {bad}: sha256" in capsys.readouterr().err


def test_a_download_of_another_process_is_waited_for_no_longer_than_allowed(
    server: FaultServer, target: Path, tmp_path: Path, limits: SetLimits
) -> None:
    source = pinned(server.plan("/a", serve(BODY)))
    start_s = time.monotonic()
    with FileLock(tmp_path / "cache" / f"{source.sha256}.lock"):
        limits(total_s=0.3)
        message = failure(source, target)
    assert "another process has been downloading it for 0.3 s" in message and server.requests == []
    assert 0.3 <= time.monotonic() - start_s < 2.0
    assert fetch(source, target).read_bytes() == BODY


def test_without_a_network_all_urls_and_both_ways_out_are_named_within_seconds(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scratchlm.download.fetch.LIMITS", LIMITS)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        unknown = "https://no-such-host.invalid/x"
        start_s = time.monotonic()
        message = failure(pinned(unknown, refusing), target)
    assert time.monotonic() - start_s < 8.0
    assert f"{unknown}: no connection (name not resolved)" in message
    assert f"{refusing}: no connection (connection refused)" in message
    assert "set SCRATCHLM_MIRROR to a folder or URL that holds file.bin" in message
    assert "make profile P=sample" in message


@pytest.mark.parametrize("url", ["ftp://host/x", "no url", "https://", "http://[broken", ""])
def test_an_invalid_url_is_refused(url: str, target: Path) -> None:
    with pytest.raises(InputError, match=re.escape(repr(url))):
        fetch_url(url, target)


def test_an_impossible_host_name_is_one_clear_line(target: Path) -> None:
    with pytest.raises(InputError, match="cannot get x: "):
        fetch_url(f"http://{'a' * 70}.example/x", target)


def test_an_older_file_at_the_target_survives_a_failure(server: FaultServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(InputError):
        fetch(pinned(server.plan("/a", serve(OTHER))), target)
    assert target.read_text() == "mine"


def test_a_cache_that_is_not_a_folder_is_named(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "file" / "cache"))
    message = failure(pinned("http://127.0.0.1/x"), target)
    assert f"cannot write {tmp_path}/file" in message
    assert "SCRATCHLM_CACHE" in message


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
def test_a_url_is_printed_without_possible_secrets(url: str, printed: str) -> None:
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


def test_a_users_own_url_is_accepted_with_its_hash_printed_and_asked_again_next_time(
    server: FaultServer, target: Path, capsys: Any
) -> None:
    url = server.plan("/my%20text.txt", serve(BODY), serve(OTHER))
    assert fetch_url(url, target).read_bytes() == BODY
    err = capsys.readouterr().err
    assert err.startswith("my text.txt: 300,000 bytes")
    assert f"sha256 {hashlib.sha256(BODY).hexdigest()}" in err
    assert fetch_url(url, target).read_bytes() == OTHER


def hub(server: FaultServer, body: bytes) -> Source:
    """Return an unpinned checkpoint whose host gives the sha256 of BODY and whose storage sends `body`."""
    linked = f'"{hashlib.sha256(BODY).hexdigest()}"'
    storage = server.plan("/storage", serve(body))
    url = server.plan(f"/resolve/{'a' * 40}/model.safetensors", redirect(storage, X_Linked_Etag=linked))
    return Source("gpt2-355M.safetensors", (url,))


def test_content_that_differs_from_the_hosts_hash_is_refused(server: FaultServer, target: Path) -> None:
    assert f"expected {hashlib.sha256(BODY).hexdigest()}" in failure(hub(server, OTHER), target)


def test_a_file_at_a_commit_with_the_hosts_hash_is_fetched_only_once(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    source = hub(server, BODY)
    fetch(source, target)
    asked = len(server.requests)
    assert fetch(source, tmp_path / "again").read_bytes() == BODY
    assert len(server.requests) == asked == 2


def test_a_mirror_folder_is_looked_in_first_and_needs_no_cache(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.bin").write_bytes(BODY)
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path / "mirror"))
    assert fetch(pinned(server.plan("/a", serve(BODY))), target).read_bytes() == BODY
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
    assert fetch(pinned(), target).read_bytes() == BODY


def test_a_mirror_may_be_a_base_url(server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan("/files/sms%2Bspam.zip", serve(BODY))
    monkeypatch.setenv("SCRATCHLM_MIRROR", f"{server.url}/files/")
    source = replace(pinned(server.plan("/a", serve(BODY))), name="sms+spam.zip")
    assert fetch(source, target).read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/files/sms%2Bspam.zip"]


def test_a_corrupt_mirror_file_is_reported_and_the_url_used(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "file.bin").write_bytes(BODY[:-1] + b"!")
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    assert fetch(pinned(server.plan("/a", serve(BODY))), target).read_bytes() == BODY
    assert f"error: not used: {tmp_path}/file.bin (mirror): sha256" in capsys.readouterr().err


def test_a_mirror_without_the_file_is_named_among_the_places_tried(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path / "none"))
    message = failure(pinned(server.plan("/a", status(404))), target)
    assert f"{tmp_path}/none/file.bin (mirror): no such file" in message
    assert "/a: 404 not found" in message


def test_a_member_is_extracted_from_its_zip_if_it_is_found_nowhere_else(
    server: FaultServer, target: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file.bin", BODY)
    packed = (tmp_path / "a.zip").read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    zip_source = Source("a.zip", (server.plan("/a.zip", serve(packed)),), len(packed), digest)
    assert fetch(replace(pinned(), archive=zip_source), target).read_bytes() == BODY
    target.unlink()
    other = replace(pinned(), archive=zip_source, sha256="0" * 64)
    assert "a.zip" in (message := failure(other, target)) and "expected 000" in message


def test_a_zip_that_cannot_be_fetched_is_named_in_the_one_line(server: FaultServer, target: Path) -> None:
    zip_source = Source("a.zip", (server.plan("/a.zip", status(404)),), 10, "0" * 64)
    assert f"{server.url}/a.zip: 404 not found" in failure(replace(pinned(), archive=zip_source), target)


def test_a_users_own_url_is_not_taken_from_the_mirror_by_name(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(OTHER)
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(tmp_path))
    assert fetch_url(server.plan("/a", serve(BODY)), target).read_bytes() == BODY


def test_the_way_out_for_a_users_own_url_is_a_path(server: FaultServer, target: Path) -> None:
    with pytest.raises(InputError, match="404 not found; download it yourself and give its path instead"):
        fetch_url(server.plan("/a", status(404)), target)


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
        pytest.raises(InputError, match="there is no home folder of such a user"),
        opened_source("~nobody-here/x", {}, INPUTS, "stage"),
    ):
        pass
