"""Any server with OpenAI's API as a judge's backend: vLLM, llama-server, LM Studio, OpenAI itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from scratchlm.errors import InputError
from scratchlm.judging.client import WAY_OUT, Backend, BackendError, Completion
from scratchlm.params.schema import JudgeParams
from scratchlm.stage.environment import read_address, read_key

DEFAULT_BASE_URL = "https://api.openai.com/v1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class OpenAiBackend(Backend):
    """One model of a server with OpenAI's API; `connect` makes one, after checking that it can answer."""

    kind = "openai"
    limit = "max_tokens"  # what the server calls it, until it says otherwise
    takes_schema = True

    def body(self, question: str, schema: Mapping[str, Any] | None, limit: str) -> dict[str, Any]:
        """Make the body of a request; `limit` is what its reader calls the most tokens of an answer."""
        fields: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": question}]}
        fields |= {name: self.options[name] for name in ("seed", "temperature")}
        fields[limit] = self.options["max_tokens"]
        if schema is not None:
            form = {"name": "verdict", "strict": True, "schema": schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": form}
        return fields

    def read(self, said: Any) -> Completion:
        """Read the body of an answer; raises LookupError, TypeError or AttributeError if it is none."""
        choice, usage = said["choices"][0], said.get("usage") or {}
        counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
        return self.completion(choice["message"]["content"], choice.get("finish_reason"), *counts)

    def ask(self, question: str, schema: Mapping[str, Any] | None) -> Completion:
        """Ask once; a server that refuses the schema, or the limit's old name, is asked without it from then on."""

        while True:
            fields = self.body(question, schema if self.takes_schema else None, self.limit)
            try:
                return self.send("/chat/completions", self.read, fields)
            except BackendError as failure:
                refusal = str(failure) if failure.status in (400, 422) else ""
                if "response_format" in fields and ("response_format" in refusal or "schema" in refusal):
                    self.takes_schema = False
                elif "max_tokens" in fields and "max_tokens" in refusal:
                    self.limit = "max_completion_tokens"
                else:
                    raise


def name_model(model: str, settings: JudgeParams, seed: int, timeout_s: float) -> OpenAiBackend:
    """Name a model on the server at OPENAI_BASE_URL, whether that is there or not.

    OPENAI_API_KEY, if set, goes into the requests' header and nowhere else; `timeout_s` is for each answer. Raises
    InputError for an address or a key that cannot be one.
    """
    base_url = read_base_url()
    # The same name means another model on another server.
    options = {"base_url": base_url, "seed": seed, "temperature": settings.temperature}
    options |= {"max_tokens": settings.max_answer_tokens}
    uses_proxies = urlsplit(base_url).hostname not in LOOPBACK
    return OpenAiBackend(base_url, read_key("OPENAI_API_KEY"), model, options, timeout_s, uses_proxies)


def connect(model: str, settings: JudgeParams, seed: int, timeout_s: float) -> OpenAiBackend:
    """Open a model, see `name_model`, on a server that is there; one without a list of models is taken at its word.

    Raises InputError that says what to do when the server or the model is missing or the key is refused.
    """
    backend = name_model(model, settings, seed, timeout_s)
    try:
        backend.find_model("/models", "data", "id", model, "name one it has")
    except BackendError as failure:
        if failure.status in (0, 401, 403):
            raise InputError(
                f"no OpenAI-compatible server lets us in at {backend.address} ({failure.reason}): start one, or point "
                f"OPENAI_BASE_URL at it, as in http://127.0.0.1:8080/v1, with its key in OPENAI_API_KEY, {WAY_OUT}"
            ) from None
    backend.model_digest = None  # few servers tell one, and a batch that is exported without a server has none
    return backend


def read_base_url() -> str:
    """The server's address from OPENAI_BASE_URL, by default OpenAI's own."""
    text = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    address = read_address("OPENAI_BASE_URL", text, "http://127.0.0.1:8080/v1")
    if "@" in address.netloc or address.query or address.fragment:
        raise InputError("OPENAI_BASE_URL holds a name or password, or otherwise more than an address: leave that out")
    return text.rstrip("/")
