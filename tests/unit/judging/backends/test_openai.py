"""The OpenAI backend against a real local server: what is asked, which faults pass, and where the key goes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai_server import OpenAiServer
from scripted_server import BUSY, DROPPED, HALF, HTML, LIMITED, Reply, unused_host

from scratchlm.errors import InputError
from scratchlm.judging import client
from scratchlm.judging.backends import openai as openai_backend
from scratchlm.judging.backends.openai import OpenAiBackend, connect
from scratchlm.judging.client import BackendError, Completion, TooSlow, read_retry_after_s
from scratchlm.params.schema import JudgeParams

KEY = "sk-0123456789abcdef"
SCHEMA = {
    "type": "object",
    "properties": {"level": {"type": "integer"}},
    "required": ["level"],
    "additionalProperties": False,
}


SETTINGS = JudgeParams(
    judges=["openai:tiny"],
    prompt="book",
    pairwise=False,
    temperature=0,
    num_ctx=2048,
    max_answer_tokens=256,
    probes=0,
    min_coverage=1,
)


def connect_to(model: str = "tiny", timeout_s: float = 20.0) -> OpenAiBackend:
    return connect(model, SETTINGS, 123, timeout_s)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    with OpenAiServer(key=KEY) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield running


def test_it_asks_once_with_seed_temperature_and_limit(server: OpenAiServer) -> None:
    assert connect_to().ask("How good is it?", None) == Completion("85", "stop", 100, 3)
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "How good is it?"}],
            "seed": 123,
            "temperature": 0,
            "max_tokens": 256,
        }
    ]
    assert set(server.authorizations) == {f"Bearer {KEY}"}


def test_without_a_key_no_authorization_is_sent_even_where_netrc_has_one(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.key = None
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setattr(openai_backend, "LOOPBACK", ())  # as on another machine, where the environment counts
    connect_to().ask("?", None)
    assert set(server.authorizations) == {None}


def test_a_schema_is_asked_for_and_given_up_where_the_server_refuses_it(server: OpenAiServer) -> None:
    backend = connect_to()
    backend.ask("?", SCHEMA)
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    server.refused = frozenset({"response_format"})
    other = connect_to()
    assert other.ask("?", SCHEMA).text == "85"
    assert "response_format" not in server.requests[1]
    gets_and_posts = len(server.authorizations)
    other.ask("?", SCHEMA)
    assert len(server.authorizations) == gets_and_posts + 1  # it remembers


def test_the_newer_name_of_the_limit_is_used_where_the_server_wants_it(server: OpenAiServer) -> None:
    server.refused = frozenset({"max_tokens", "response_format"})
    backend = connect_to()
    backend.ask("?", SCHEMA)
    assert server.requests[0]["max_completion_tokens"] == 256
    assert not {"max_tokens", "response_format"} & set(server.requests[0])
    backend.ask("?", SCHEMA)
    assert len(server.authorizations) == 1 + 3 + 1


def test_a_refusal_of_something_else_is_told_and_not_asked_again(server: OpenAiServer) -> None:
    server.refused = frozenset({"seed"})
    with pytest.raises(BackendError, match="HTTP 400: Unrecognized request argument supplied: seed") as failed:
        connect_to().ask("?", SCHEMA)
    assert not failed.value.worth_retrying
    assert len(server.authorizations) == 2


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply("8", done_reason="length", eval_count=256), Completion("8", "length", 100, 256)),
        (Reply("", done_reason="content_filter"), Completion("", "other", 100, 3)),
        (Reply("85", prompt_eval_count=None), Completion("85", "stop", None, None)),
        (Reply(body=b'{"choices": [{"message": {"content": null}}]}'), Completion("", "other", None, None)),
    ],
)
def test_how_the_answer_ended_and_its_lengths_are_told(server: OpenAiServer, reply: Reply, answer: Completion) -> None:
    server.replies = [reply]
    assert connect_to().ask("?", None) == answer


@pytest.mark.parametrize("fault", [BUSY, LIMITED, DROPPED, HALF, Reply(status=500, body=b"oops")])
def test_a_fault_that_may_pass_is_worth_retrying(server: OpenAiServer, fault: Reply) -> None:
    server.replies = [fault]
    with pytest.raises(BackendError) as failed:
        connect_to().ask("?", None)
    assert failed.value.worth_retrying and failed.value.reason
    assert failed.value.retry_after_s == (1.0 if fault is LIMITED else None)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        *(Reply(status=status, body=b'{"error": {"message": "no"}}') for status in (400, 401, 403, 404, 422)),
        HTML,
        Reply(body=b'["a list"]'),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"choices": [{"message": {"content": ["parts"]}}]}'),
        Reply(body=b'{"choices": [{"mess'),
        Reply(body=b"[" * 100_000),
    ],
)
def test_a_fault_that_stays_is_not(server: OpenAiServer, fault: Reply) -> None:
    server.replies = [fault]
    with pytest.raises(BackendError) as failed:
        connect_to().ask("?", None)
    assert not failed.value.worth_retrying
    assert failed.value.reason and "\n" not in failed.value.reason and len(failed.value.reason) <= 200
    assert len(server.requests) == 1


def test_a_body_without_an_end_is_not_read_to_it(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BODY_BYTES", 10_000)
    server.replies = [Reply("8" * 100_000)]
    with pytest.raises(BackendError, match="more than 10,000 bytes") as failed:
        connect_to().ask("?", None)
    assert not failed.value.worth_retrying


def test_a_hanging_server_is_too_slow(server: OpenAiServer) -> None:
    server.replies = [Reply(delay_s=30)]
    with pytest.raises(TooSlow):
        connect_to(timeout_s=0.2).ask("?", None)


def test_a_server_that_went_away_is_worth_retrying(server: OpenAiServer) -> None:
    backend = connect_to()
    server.stop()
    with pytest.raises(BackendError, match="ConnectionError") as failed:
        backend.ask("?", None)
    assert failed.value.worth_retrying


def test_a_model_that_is_not_there_is_named_with_the_ones_that_are(server: OpenAiServer) -> None:
    server.models = ("small", "tiny")
    with pytest.raises(InputError, match=r"has no model 'large' \(judge.judges\), it has small, tiny"):
        connect_to("large")


def test_a_digest_is_left_out_as_a_batch_has_none(server: OpenAiServer) -> None:
    assert connect_to().model_digest is None


def test_a_server_without_a_list_of_models_is_taken_at_its_word(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.host}/v2")  # where it answers 404 to everything
    assert connect_to("anything").model_digest is None
    assert len(server.authorizations) == 1


def test_no_server_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    host = unused_host()
    monkeypatch.setenv("OPENAI_BASE_URL", f"{host}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(InputError) as stopped:
        connect_to()
    message = str(stopped.value)
    assert all(part in message for part in (host, "OPENAI_BASE_URL", "`judge.judges: [overlap]`"))
    assert "\n" not in message and KEY not in message


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host/v1", "http://", "http://[::1", "http://h:99999999/v1"])
def test_a_base_url_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InputError, match=r"OPENAI_BASE_URL is .*no address"):
        connect_to()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:secret@127.0.0.1:1/v1", "name or password"),
        ("http://127.0.0.1:1/v1?key=secret", "more than an address"),
        ("http://127.0.0.1:1/v1#secret", "more than an address"),
    ],
)
def test_a_base_url_with_a_secret_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InputError, match=said) as stopped:
        connect_to()
    assert "secret" not in str(stopped.value)


def test_a_refused_key_is_not_repeated_anywhere(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = connect_to()
    server.key = "another"  # from now on the server repeats the wrong key in its errors
    with pytest.raises(BackendError, match=r"HTTP 401: Incorrect API key provided: Bearer \[key\]") as failed:
        backend.ask("?", None)
    with pytest.raises(InputError, match="OPENAI_API_KEY") as stopped:
        connect_to()
    server.key = KEY
    long_error = b"x" * 190 + KEY.encode() + b"\n"  # a message is cut at 200 characters, through a key
    server.replies = [Reply(status=400, body=long_error), Reply(f"85 {KEY}"), Reply(body=b"y" * 70 + KEY.encode())]
    with pytest.raises(BackendError) as cut:
        backend.ask("?", None)
    answer = backend.ask("?", None)
    with pytest.raises(BackendError) as unread:
        backend.ask("?", None)
    told = [repr(backend), str(backend.options), answer.text, caplog.text, str(stopped.value)]
    told += [text for error in (failed, cut, unread) for text in (str(error.value), repr(error.value))]
    assert not [text for text in told if KEY[:8] in text]
    assert all(error.value.__cause__ is None for error in (failed, cut, unread))


@pytest.mark.parametrize("key", ["role", "null", "choices"])
def test_a_key_that_is_a_word_of_the_api_spoils_no_answer(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    server.key = key
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert connect_to().ask("?", None).text == "85"


def test_a_key_is_found_with_its_slashes_escaped(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-0123/4567"
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    backend = connect_to()
    server.replies = [Reply(status=500, body=rb'{"error": "no: sk-0123\/4567"}')]
    with pytest.raises(BackendError) as failed:
        backend.ask("?", None)
    assert "4567" not in str(failed.value)


def test_the_key_does_not_follow_a_redirect(server: OpenAiServer) -> None:
    backend = connect_to()
    with OpenAiServer(key=KEY) as other:
        server.moved_to = other.host
        with pytest.raises(BackendError, match=r"a redirect to 127\.0\.0\.1, which is not followed") as failed:
            backend.ask("?", None)
        with pytest.raises(InputError, match="redirect"):
            connect_to()
        assert not other.authorizations
    assert not failed.value.worth_retrying


def test_a_redirect_to_nowhere_is_a_failure_too(server: OpenAiServer) -> None:
    backend = connect_to()
    server.moved_to = "http://["
    with pytest.raises(BackendError) as failed:
        backend.ask("?", None)
    assert not failed.value.worth_retrying


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "clé"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY holds characters") as stopped:
        connect_to()
    assert key not in str(stopped.value)


def test_another_server_or_setting_makes_other_options(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = connect_to().options
    assert first == {"base_url": server.url, "seed": 123, "temperature": 0, "max_tokens": 256}
    with OpenAiServer(key=KEY) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", other.url + "/")
        assert connect_to().options == first | {"base_url": other.url}


@pytest.mark.parametrize(("header", "seconds"), [("1.5", 1.5), ("0", 0), ("-1", None), ("nan", None), ("Fri", None)])
def test_retry_after_counts_in_seconds_alone(header: str, seconds: float | None) -> None:
    assert read_retry_after_s(header) == seconds
