"""Whatever is sent, the server says what is wrong with it, and goes on."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchlm.serving import bodies
from scratchlm.serving.bodies import MAX_BODY_BYTES

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 2}
COMPLETION = {"model": "pretrained", "prompt": "the cat", "max_tokens": 2}
JSON = {"Content-Type": "application/json"}


def send(
    address: str, path: str, body: bytes | str, headers: dict[str, str] = JSON, method: str = "POST"
) -> tuple[int, Any]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def assert_error(status: int, said: Any) -> None:
    assert 400 <= status < 500, said
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert said["error"]["type"] == "invalid_request_error"
    assert said["error"]["message"] and "\n" not in said["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"model": "\xff"}', "not JSON that can be read"),
        (b'{"model": "a\x00b"}', "not JSON that can be read"),
        (b'{"model": NaN}', "not JSON that can be read"),
        (b'{"model": 1e999}', "not JSON that can be read"),
        (b'{"model": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
        (b'{"model": "\\ud800"}', "half a character"),
        (b'{"\\ud800": 1}', "half a character"),
        ("\ufeff{}".encode(), "not JSON that can be read"),
        ('{"model": "a"}'.encode("utf-16"), "not JSON that can be read"),
        (b"null", "the body: got"),
        (b"[]", "the body: got"),
        (b"{}", "model: missing; "),
        (b'{"a\\nb": 1}', "a b: unknown key"),
        (json.dumps(CHAT | {"temperature": 10**400}).encode(), "temperature: got"),
        (json.dumps(CHAT | {"max_tokens": 10**400}).encode(), "max_tokens: got"),
        (json.dumps(CHAT | {"seed": 2**64}).encode(), "seed: got"),
        (json.dumps(CHAT | {"max_tokens": "9"}).encode(), "max_tokens: got"),
        (json.dumps(CHAT | {"max_tokens": True}).encode(), "max_tokens: got"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_body_that_cannot_be_read_gets_a_clear_400(address: str, body: bytes, said: str) -> None:
    status, found = send(address, "/v1/chat/completions", body)
    assert_error(status, found)
    assert status == 400 and said in found["error"]["message"]


def test_all_mistakes_are_named_at_once(address: str) -> None:
    _, found = send(address, "/v1/completions", json.dumps({"model": 1, "prompt": "a", "max_tokens": -1, "zork": 1}))
    assert [part.split(":")[0] for part in found["error"]["message"].split("; ")] == ["model", "max_tokens", "zork"]
    assert found["error"]["param"] == "model"


LAST = {"role": "user", "content": "a"}
MANY = 200_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT | {"messages": [1] * MANY}),
        ("/v1/chat/completions", CHAT | {"messages": [{}] * MANY}),
        ("/v1/chat/completions", CHAT | {"messages": [LAST | {"content": [1] * MANY}]}),
        ("/v1/chat/completions", CHAT | {"messages": [LAST | {"content": [{}] * MANY}]}),
        ("/v1/chat/completions", CHAT | {"messages": [{str(number): 0 for number in range(MANY // 4)}]}),
        ("/v1/chat/completions", CHAT | {"stop": [1] * MANY}),
        ("/v1/chat/completions", CHAT | {"response_format": [1] * MANY}),
        ("/v1/chat/completions", CHAT | {str(number): 0 for number in range(MANY // 4)}),
        ("/v1/completions", COMPLETION | {"prompt": [[]] * MANY}),
        ("/v1/completions", COMPLETION | {"prompt": [""] * MANY}),
        ("/page/next_token", {"model": "pretrained", "text": "a", "taken": [""] * MANY}),
        ("/page/tokens", {"model": "pretrained", "text": [1] * MANY}),
    ],
    ids=lambda value: str(value)[:9] if isinstance(value, str) else "",
)
def test_a_body_of_many_mistakes_is_refused_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    """Others wait meanwhile, and to name a mistake takes about 20 microseconds."""
    named = []
    monkeypatch.setattr(bodies, "_problem", lambda *known: named.append(known) or "a mistake")
    content = json.dumps(body, separators=(",", ":"))
    assert len(content) <= MAX_BODY_BYTES
    assert_error(*send(address, path, content))
    assert len(named) <= 100


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_only_json_is_taken(address: str, kind: str | None) -> None:
    """A form on another site's page can send these types, and no other, without asking."""
    headers = {} if kind is None else {"Content-Type": kind}
    status, found = send(address, "/v1/chat/completions", json.dumps(CHAT), headers)
    assert_error(status, found)
    assert status == 415
    assert (
        send(address, "/v1/chat/completions", json.dumps(CHAT), {"Content-Type": "Application/JSON; charset=utf-8"})[0]
        == 200
    )


def test_a_body_is_bounded(address: str) -> None:
    fits = json.dumps(CHAT).ljust(MAX_BODY_BYTES)
    assert send(address, "/v1/chat/completions", fits)[0] == 200
    status, found = send(address, "/v1/chat/completions", fits + " ")
    assert_error(status, found)
    assert status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/zork", 404),
        ("POST", "/v1/zork", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("DELETE", "/", 405),
        ("GET", "/zork", 404),
        ("GET", "/../../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/app.py", 404),
        ("GET", "/v1/models/..%2f..", 404),
        ("GET", "/v1/models/a%00%ff", 404),
    ],
)
def test_an_unknown_path_or_method_gets_an_error_in_the_same_form(
    address: str, method: str, path: str, status: int
) -> None:
    found, said = send(address, path, b"", method=method)
    assert_error(found, said)
    assert found == status


def test_health_is_told_as_llama_server_tells_it(address: str) -> None:
    assert send(address, "/health", b"", method="GET") == (200, {"status": "ok"})


KEYS = [*CHAT, *COMPLETION, "stop", "echo", "logprobs", "n", "seed", "top_k", "stream_options", "temperature", "zork"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "role", "content"]), inner),
    max_leaves=8,
)


@settings(max_examples=80)
@given(
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions"]),
    change=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4),
)
def test_no_json_makes_the_server_fail(address: str, path: str, change: dict[str, Any]) -> None:
    whole = (CHAT if "chat" in path else COMPLETION) | {key: value for key, value in change.items() if key != "stream"}
    whole["max_tokens"] = min(whole["max_tokens"], 3) if type(whole["max_tokens"]) is int else whole["max_tokens"]
    try:
        body = json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        body = json.dumps(whole).encode()
    status, said = send(address, path, body)
    if status != 200:
        assert_error(status, said)


@given(body=st.binary(max_size=40))
def test_no_bytes_make_the_server_fail(address: str, body: bytes) -> None:
    assert_error(*send(address, "/v1/completions", body))
