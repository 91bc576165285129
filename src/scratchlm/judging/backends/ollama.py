"""Ollama as a judge's backend, through its own client."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import ollama

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
    one_line,
    read_count,
    read_retry_after_s,
    redact,
)

DEFAULT_HOST = "http://127.0.0.1:11434"

# What a call of the client can end in. The last three are its own defects: an error body that is a JSON list
# raises AttributeError, an answer that is one TypeError, JSON nested too deeply RecursionError.
FAILURES = (
    ollama.ResponseError,
    ConnectionError,
    httpx.RequestError,
    ValueError,
    AttributeError,
    TypeError,
    RecursionError,
)
FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True)
class OllamaBackend:
    """One model of an Ollama server; `connect` makes one, after checking that it can answer."""

    kind: ClassVar[str] = "ollama"
    model: str
    model_digest: str | None
    options: Mapping[str, Any]
    timeout_s: float
    client: ollama.Client = field(repr=False)

    def ask(self, prompt: str, schema: Mapping[str, Any] | None) -> Answer:
        """Ask once; raises only BackendError, worth retrying after 429, 5xx, timeouts and lost connections."""
        messages = [{"role": "user", "content": prompt}]
        form = None if schema is None else dict(schema)
        try:
            said = self.client.chat(self.model, messages, stream=False, think=False, format=form, options=self.options)
        except httpx.TimeoutException:
            raise TooSlow(self.timeout_s) from None
        except FAILURES as failure:
            away = isinstance(failure, ConnectionError | httpx.TransportError)
            raise BackendError(describe(failure), worth_retrying=away) from None
        finish = FINISHES.get(said.done_reason, "other")
        counts = read_count(said.prompt_eval_count), read_count(said.eval_count)
        return Answer(without_key(said.message.content or ""), finish, *counts)

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()  # type: ignore[no-untyped-call]


def connect(
    model: str, *, temperature: float, num_ctx: int, max_answer_tokens: int, seed: int, timeout_s: float
) -> OllamaBackend:
    """Open a model on the server at OLLAMA_HOST, having seen that both are there.

    `num_ctx` and `max_answer_tokens` in tokens, `timeout_s` for each answer.
    Raises InputError that says what to run when the server or the model is missing.
    """
    host = os.environ.get("OLLAMA_HOST") or DEFAULT_HOST
    options = {"seed": seed, "temperature": temperature, "num_ctx": num_ctx, "num_predict": max_answer_tokens}
    check_options(options)
    model_digest = find_model(host, model, min(timeout_s, CHECK_TIMEOUT_S))
    return OllamaBackend(model, model_digest, options, timeout_s, open_client(host, timeout_s, response=[refuse]))


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse an option that this client does not list: the server would ignore it without a word."""
    if unknown := sorted(options.keys() - ollama.Options.model_fields.keys()):
        raise InputError(
            f"the installed ollama package knows no option {', '.join(unknown)}, so the judge would run without: "
            f"install the version that this project asks for (pip install -e .), {WAY_OUT}"
        )


def find_model(host: str, model: str, timeout_s: float) -> str | None:
    """The digest of `model` on the server, which names its exact weights.

    Raises InputError where nothing answers, where what answers is not Ollama, and where it lacks the model.
    """
    shown_host = host.rpartition("@")[2]  # without a name and password, should the address hold them
    try:
        with open_client(host, timeout_s) as client:
            digests: dict[str | None, str | None] = {listed.model: listed.digest for listed in client.list().models}
    except (ConnectionError, httpx.RequestError) as failure:
        raise InputError(
            f"no Ollama server answers at {shown_host} ({type(failure).__name__}): start one with "
            f"`ollama serve`, or point OLLAMA_HOST at the machine that runs it, {WAY_OUT}"
        ) from failure
    except (*FAILURES, httpx.InvalidURL) as failure:
        raise InputError(
            f"what answers at {shown_host} is not Ollama's API ({describe(failure)}): check OLLAMA_HOST, "
            f"start a server with `ollama serve`, {WAY_OUT}"
        ) from failure
    # Ollama lists "llama3" as "llama3:latest"; a registry's address before the name may hold a colon too.
    full_name = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
    if full_name not in digests:
        raise InputError(
            f"Ollama at {shown_host} has no model {model!r} (judge.judges), "
            f"it has {list_models([name for name in digests if name])}: "
            f"run `ollama pull {model}`, or name one it has, {WAY_OUT}"
        )
    return digests[full_name]


def open_client(host: str, timeout_s: float, **event_hooks: list[Callable[[httpx.Response], None]]) -> ollama.Client:
    """A client that waits at most `timeout_s` for an answer and goes through no proxy.

    Left to itself the client waits forever, and sends even 127.0.0.1 through HTTP_PROXY.
    """
    return ollama.Client(host, timeout=timeout_s, trust_env=False, event_hooks=event_hooks)


def refuse(response: httpx.Response) -> None:
    """Raise BackendError for a busy or broken server while its Retry-After is at hand, which the client drops."""
    if is_worth_retrying(response.status_code):
        response.read()
        raise BackendError(
            f"HTTP {response.status_code}: {without_key(response.text)}",
            worth_retrying=True,
            retry_after_s=read_retry_after_s(response.headers.get("Retry-After")),
        )


def describe(failure: BaseException) -> str:
    """Name a failure of the client in one line."""
    return one_line(without_key(f"{type(failure).__name__}: {failure}"))


def without_key(text: str) -> str:
    """Take OLLAMA_API_KEY out, which the client sends by itself."""
    return redact(text, os.environ.get("OLLAMA_API_KEY", ""))
