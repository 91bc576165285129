"""Any server with OpenAI's API as a judge's backend: vLLM, llama-server, LM Studio, OpenAI itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from scratchlm.errors import InputError
from scratchlm.judging.backend import (
    CHECK_TIMEOUT_S,
    WAY_OUT,
    Answer,
    BackendError,
    Finish,
    TooSlow,
    is_worth_retrying,
    list_models,
    read_count,
    read_retry_after_s,
    redact,
)

DEFAULT_BASE_URL = "https://api.openai.com/v1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_BODY_BYTES = 4 * 2**20  # an answer of a few hundred tokens takes a few kB
CHUNK_BYTES = 2**16
FINISHES: dict[Any, Finish] = {"stop": "stop", "length": "length"}


class OpenAiBackend:
    """One model of a server with OpenAI's API; `connect` makes one, after checking that it can answer."""

    kind = "openai"

    def __init__(self, base_url: str, key: str, model: str, options: Mapping[str, Any], timeout_s: float) -> None:
        self.base_url = base_url
        self.model = model
        self.model_digest: str | None = None
        # The same name means another model on another server, and few of them tell a digest.
        self.options = {"base_url": base_url, **options}
        self._request_fields = dict(options)
        self._takes_schema = True  # until the server says otherwise
        self._timeout_s = timeout_s
        self._key = key
        self._session = open_session(base_url, key)

    def __repr__(self) -> str:
        return f"OpenAiBackend({self.model!r} at {self.base_url})"

    def ask(self, prompt: str, schema: Mapping[str, Any] | None) -> Answer:
        """Ask once; raises only BackendError, worth retrying after 429, 5xx, timeouts and lost connections.

        A server that refuses the schema, or `max_tokens` because it wants the newer `max_completion_tokens`, is
        asked the way it wants it, then and from then on.
        """
        while True:
            fields = dict(self._request_fields)
            if schema is not None and self._takes_schema:
                form = {"name": "verdict", "strict": True, "schema": schema}
                fields["response_format"] = {"type": "json_schema", "json_schema": form}
            messages = [{"role": "user", "content": prompt}]
            status, retry_after_s, body = self._send(
                "POST", "/chat/completions", {"model": self.model, "messages": messages, **fields}, self._timeout_s
            )
            if status == 200:
                return self._read_answer(body)
            reason = self._redacted(read_error(body))
            if status not in (400, 422) or not self._adapt(fields, reason):
                worth_retrying = is_worth_retrying(status)
                raise BackendError(
                    f"HTTP {status}: {reason}", worth_retrying=worth_retrying, retry_after_s=retry_after_s
                )

    def list_models(self, timeout_s: float) -> tuple[int, list[dict[str, Any]]]:
        """The HTTP status of the server's list of models, and what it says of each; raises BackendError."""
        status, _, body = self._send("GET", "/models", None, timeout_s)
        if status != 200:
            return status, []
        try:
            listed = json.loads(body)["data"]
            return status, [model for model in listed if isinstance(model["id"], str)]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BackendError("its list of models is not OpenAI's", worth_retrying=False) from None

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _send(
        self, method: str, path: str, payload: Mapping[str, Any] | None, timeout_s: float
    ) -> tuple[int, float | None, bytes]:
        """One request; returns the status, the wait that the server asks for in seconds, and the body."""
        try:
            # A redirect is not followed: the key is for this server alone.
            with self._session.request(
                method, f"{self.base_url}{path}", json=payload, timeout=timeout_s, allow_redirects=False, stream=True
            ) as response:
                body = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise BackendError(f"an answer of more than {MAX_BODY_BYTES:,} bytes", worth_retrying=False)
                if response.is_redirect:
                    target = urlsplit(response.headers["Location"]).hostname or "another address"
                    raise BackendError(f"a redirect to {target}, which is not followed", worth_retrying=False)
                return response.status_code, read_retry_after_s(response.headers.get("Retry-After")), bytes(body)
        except requests.Timeout:
            raise TooSlow(timeout_s) from None
        except (requests.RequestException, ValueError) as failure:
            # Connections that fail or break; the rest is an address or a body that stays unreadable.
            away = isinstance(failure, requests.ConnectionError | requests.exceptions.ChunkedEncodingError)
            reason = type(failure).__name__ if away else self._redacted(f"{type(failure).__name__}: {failure}")
            raise BackendError(reason, worth_retrying=away) from None

    def _adapt(self, fields: Mapping[str, Any], reason: str) -> bool:
        """Change what is sent if the server's refusal names it; False where there is nothing left to change."""
        if "response_format" in fields and ("response_format" in reason or "schema" in reason):
            self._takes_schema = False
            return True
        if "max_tokens" in fields and "max_tokens" in reason:
            limit = fields["max_tokens"]
            kept = {name: value for name, value in fields.items() if name not in ("max_tokens", "response_format")}
            self._request_fields = {**kept, "max_completion_tokens": limit}
            return True
        return False

    def _read_answer(self, body: bytes) -> Answer:
        try:
            said = json.loads(body)
            choice = said["choices"][0]
            text = choice["message"]["content"] or ""
            usage = said.get("usage") or {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            finish = FINISHES.get(choice.get("finish_reason"), "other")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as failure:
            start = self._redacted(body.decode("utf-8", "replace"))[:80]
            reason = f"{type(failure).__name__}: no chat completion but {start!r}"
            raise BackendError(reason, worth_retrying=False) from None
        if not isinstance(text, str):
            raise BackendError(f"a message of type {type(text).__name__}, not text", worth_retrying=False)
        return Answer(self._redacted(text), finish, read_count(counts[0]), read_count(counts[1]))

    def _redacted(self, text: str) -> str:
        return redact(text, self._key)


def connect(model: str, *, temperature: float, max_answer_tokens: int, seed: int, timeout_s: float) -> OpenAiBackend:
    """Open a model on the server at OPENAI_BASE_URL, having seen that it answers and knows the model.

    `max_answer_tokens` in tokens, `timeout_s` for each answer. OPENAI_API_KEY, if set, goes into the requests'
    header and nowhere else. A server without a list of models is taken at its word.
    Raises InputError that says what to do when the server or the model is missing or the key is refused.
    """
    base_url = read_base_url()
    options = {"seed": seed, "temperature": temperature, "max_tokens": max_answer_tokens}
    backend = OpenAiBackend(base_url, read_key(), model, options, timeout_s)
    try:
        status, models = backend.list_models(min(timeout_s, CHECK_TIMEOUT_S))
    except BackendError as failure:
        raise InputError(
            f"no OpenAI-compatible server answers at {base_url} ({failure.reason}): start one, or point "
            f"OPENAI_BASE_URL at it, as in http://127.0.0.1:8080/v1, {WAY_OUT}"
        ) from None
    if status in (401, 403):
        raise InputError(f"{base_url} refuses the key (HTTP {status}): set OPENAI_API_KEY to one it takes, {WAY_OUT}")
    if status != 200:
        return backend  # no list of models, or not yet
    for known in models:
        if known["id"] == model:
            digest = known.get("digest")
            backend.model_digest = digest if isinstance(digest, str) else None
            return backend
    raise InputError(
        f"{base_url} has no model {model!r} (judge.judges), it has {list_models([known['id'] for known in models])}: "
        f"name one it has, {WAY_OUT}"
    )


def open_session(base_url: str, key: str) -> requests.Session:
    """A session that sends the key, keeps no cookies, and goes through a proxy only to other machines."""

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    session = requests.Session()
    session.trust_env = urlsplit(base_url).hostname not in LOOPBACK
    session.auth = authorize  # set even without a key, or requests would send a password from ~/.netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=64))
    return session


def read_base_url() -> str:
    """The server's address from OPENAI_BASE_URL, by default OpenAI's own."""
    text = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    shown = re.split("[?#]", text.rpartition("@")[2])[0]
    try:
        address = urlsplit(text)
        known = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        known = False
    if not known:
        raise InputError(f"OPENAI_BASE_URL is {shown!r}, no address: set it as in http://127.0.0.1:8080/v1")
    if "@" in address.netloc:
        raise InputError(f"OPENAI_BASE_URL holds a name or password before {shown!r}: leave it out")
    if address.query or address.fragment:
        raise InputError(f"OPENAI_BASE_URL holds more than an address after {shown!r}: leave it out")
    return text.rstrip("/")


def read_key() -> str:
    """The key from OPENAI_API_KEY, "" if there is none; raises InputError, without it, if it cannot be sent."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError("OPENAI_API_KEY holds characters that a key cannot have: copy it again, in one line")
    return key


def read_error(body: bytes) -> str:
    """What a server's error body says: OpenAI's `error.message`, or whatever there is."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        error = found.get("error", found)
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, AttributeError, RecursionError):
        return text
