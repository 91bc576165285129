"""SECURITY.md's promises about the server: who may ask, and what a browser may do with the answer."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from scratchlm.serving.guards import HEADERS
from scratchlm.serving.server import HOST, listen
from scratchlm.serving.shelf import Shelf

CHAT = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 2})


def ask(address: str, path: str = "/v1/models", method: str = "GET", body: str = "", **headers: str) -> HTTPResponse:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request(method, path, body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def test_the_server_listens_on_127_0_0_1_alone() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == HOST == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_own_names_are_served_whatever_the_port(address: str, host: str) -> None:
    assert ask(address, Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil",
        "",
        "a\tb",
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/models", "/health", "/zork"])
def test_a_foreign_name_is_refused(address: str, host: str, path: str) -> None:
    """A name of an attacker can lead to 127.0.0.1, and his page may then read what comes from there."""
    assert ask(address, path, Host=host).status == 421


def test_another_sites_page_is_refused(address: str) -> None:
    own = address.removeprefix("http://")
    for origin in ("http://evil.example", "null", "https://" + own, "http://localhost:1", f"http://{own}.evil", ""):
        assert ask(address, Origin=origin).status == 403
        response = ask(address, "/v1/chat/completions", "POST", CHAT, Origin=origin, Content_Type="application/json")
        assert response.status == 403
    assert ask(address, "/v1/chat/completions", "OPTIONS", Origin="http://evil.example").status == 403
    response = ask(address, "/v1/chat/completions", "POST", CHAT, Origin=address, Content_Type="application/json")
    assert response.status == 200


def test_every_answer_says_what_a_browser_may_do_with_it(
    address: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "names", lambda: 1 / 0)  # a defect
    answers = {
        200: ask(address, "/"),
        404: ask(address, "/zork"),
        405: ask(address, "/", "DELETE"),
        415: ask(address, "/v1/completions", "POST"),
        421: ask(address, Host="evil.example"),
        500: ask(address, "/v1/models"),
    }
    assert {status: answer.status for status, answer in answers.items()} == {status: status for status in answers}
    streamed = json.dumps(json.loads(CHAT) | {"stream": True})
    answers[0] = ask(address, "/v1/chat/completions", "POST", streamed, Content_Type="application/json")
    assert answers[0].status == 200
    for answer in answers.values():
        assert {name: answer.getheader(name) for name in HEADERS} == HEADERS
        assert answer.getheader("Access-Control-Allow-Origin") is None
        assert answer.getheader("Server") is None


def test_the_policy_allows_nothing_but_our_own_files() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy.pop("img-src") == "'self'"
    assert {policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert set(policy) >= {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}
