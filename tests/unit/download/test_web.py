"""Requests to web servers: redirects, certificates, proxies and passwords."""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads import BODY, QUICK, SetLimits, failure, pinned
from http_fault_server import FaultServer, endless, hang, redirect, serve, status

from scratchlm.download.fetch import fetch, fetch_url
from scratchlm.download.web import GaveUp, redirected
from scratchlm.errors import InputError


def test_redirects_are_followed(server: FaultServer, target: Path) -> None:
    server.plan("/b", redirect("c"))
    server.plan("/c", serve(BODY))
    assert fetch(pinned(server.plan("/a", redirect("/b"))), target).read_bytes() == BODY


def test_the_body_of_a_redirect_is_not_waited_for(server: FaultServer, target: Path) -> None:
    server.plan("/b", serve(BODY))
    source = pinned(server.plan("/a", endless(b"x" * 1000, pause_s=0, code=302, Location="/b")))
    assert fetch(source, target).read_bytes() == BODY


@pytest.mark.parametrize(("code", "reason"), [(404, "404 not found"), (403, "403 forbidden"), (460, "460")])
def test_a_refusal_is_not_tried_again(server: FaultServer, target: Path, code: int, reason: str) -> None:
    source = pinned(server.plan("/a", status(code), serve(BODY)))
    assert f"{source.urls[0]}: {reason};" in failure(source, target)
    assert len(server.requests) == 1


def test_a_redirect_loop_ends(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", redirect("/b")))
    server.plan("/b", redirect("/a"))
    assert "more than 10 redirects" in failure(source, target)
    assert len(server.requests) == 11


def test_a_redirect_out_of_the_web_is_refused(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", redirect("file:///etc/hostname")))
    assert "redirects from http to file: refused" in failure(source, target)


def test_a_redirect_to_an_invalid_url_is_refused(server: FaultServer, target: Path) -> None:
    assert "not a URL" in failure(pinned(server.plan("/a", redirect("http://[broken/"))), target)


def test_redirects_never_lead_from_https_to_http() -> None:
    with pytest.raises(GaveUp, match="redirects from https to http: refused"):
        redirected("https://a.example/x", "http://a.example/x")
    assert redirected("http://a.example/x", "https://a.example/y") == "https://a.example/y"
    assert redirected("https://a.example/d/x", "y?z=1") == "https://a.example/d/y?z=1"


def test_a_silent_server_is_given_up(server: FaultServer, target: Path) -> None:
    source = pinned(server.plan("/a", hang()))
    assert "no answer within 0.3 s" in failure(source, target)
    assert len(server.requests) == QUICK.tries


def test_a_host_that_does_not_accept_the_connection_is_given_up(target: Path, limits: SetLimits) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # they fill a queue of one that nobody serves: later ones get no answer
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        source = pinned(f"http://127.0.0.1:{full.getsockname()[1]}/a")
        limits(connect_s=0.2)
        assert "no connection (no answer within 0.2 s)" in failure(source, target)


def test_a_password_in_a_url_is_not_shown(server: FaultServer, target: Path, capsys: Any) -> None:
    secret = server.plan("/a", serve(BODY)).replace("//", "//me:secret@")
    fetch_url(secret, target)
    fetch_failure = secret.replace("/a", "/none")
    with pytest.raises(InputError) as caught:
        fetch_url(fetch_failure, target)
    assert "secret" not in str(caught.value) + capsys.readouterr().err
    assert "authorization" in server.headers_of("/a")[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and its key in one file; it is trusted only where it is named."""
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


def test_an_untrusted_certificate_is_refused_with_a_hint(secure_server: FaultServer, target: Path) -> None:
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
    assert fetch(pinned(secure_server.plan("/a", serve(BODY))), target).read_bytes() == BODY


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_missing_file_of_certificates_is_named(
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


def test_the_environments_proxy_is_used(server: FaultServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan("http://no-such-host.invalid/a", serve(BODY))
    assert fetch(pinned("http://no-such-host.invalid/a"), target).read_bytes() == BODY


def test_an_unreachable_proxy_is_named_without_its_password(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        message = failure(pinned("http://no-such-host.invalid/a"), target)
    assert "no connection (proxy not reachable)" in message and "secret" not in message


def test_a_password_is_not_sent_where_a_redirect_leads(server: FaultServer, target: Path) -> None:
    with FaultServer() as other:
        secret = server.plan("/a", redirect(other.plan("/b", serve(BODY)))).replace("//", "//me:secret@")
        fetch_url(secret, target)
        assert "authorization" in server.headers_of("/a")[0]
        assert "authorization" not in other.headers_of("/b")[0]


def test_a_password_is_taken_from_netrc(
    server: FaultServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch_url(server.plan("/a", serve(BODY)), target)
    assert server.headers_of("/a")[0]["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
