"""Ollama as a judge's backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from scratchlm.errors import InputError
from scratchlm.judging.client import WAY_OUT, Backend, BackendError, Completion
from scratchlm.params.schema import JudgeParams
from scratchlm.stage.environment import read_address, read_key

DEFAULT_HOST = "http://127.0.0.1:11434"
DEFAULT_PORT = 11434


class OllamaBackend(Backend):
    """One model of an Ollama server; `connect` makes one, after checking that it can answer."""

    kind = "ollama"

    def ask(self, question: str, schema: Mapping[str, Any] | None) -> Completion:
        """Ask once; an option counts only inside `options`, elsewhere Ollama ignores it without a word."""

        def read(said: Any) -> Completion:
            text, counts = said["message"]["content"], (said.get("prompt_eval_count"), said.get("eval_count"))
            return self.completion(text, said.get("done_reason"), *counts)

        messages = [{"role": "user", "content": question}]
        request: dict[str, Any] = {"model": self.model, "messages": messages, "stream": False, "think": False}
        request |= {"options": self.options} | ({"format": schema} if schema else {})
        return self.send("/api/chat", read, request)


def connect(model: str, settings: JudgeParams, seed: int, timeout_s: float) -> OllamaBackend:
    """Open a model on the server at OLLAMA_HOST, having seen that both are there; `timeout_s` is for each answer.

    Raises InputError that says what to run when the server or the model is missing.
    """
    options = {"seed": seed, "temperature": settings.temperature}
    options |= {"num_ctx": settings.num_ctx, "num_predict": settings.max_answer_tokens}
    backend = OllamaBackend(read_host(), read_key("OLLAMA_API_KEY"), model, options, timeout_s, uses_proxies=False)
    # Ollama lists "llama3" as "llama3:latest"; a registry's address before the name may hold a colon too.
    full_name = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
    try:
        backend.find_model("/api/tags", "models", "model", full_name, f"run `ollama pull {model}`, or name one it has")
    except BackendError as failure:
        is_away = failure.worth_retrying and not failure.status
        what = "no Ollama server answers at {}" if is_away else "what answers at {} is not Ollama's API"
        raise InputError(
            f"{what.format(backend.address)} ({failure.reason}): start one with `ollama serve`, or point OLLAMA_HOST "
            f"at the machine that runs it, {WAY_OUT}"
        ) from None
    return backend


def read_host() -> str:
    """The server's address from OLLAMA_HOST, without a name and password; a host or a port alone is enough."""
    text = os.environ.get("OLLAMA_HOST") or DEFAULT_HOST
    is_whole = "://" in text
    text = text if is_whole else f"http://{'127.0.0.1' if text.startswith(':') else ''}{text}"
    address = read_address("OLLAMA_HOST", text, DEFAULT_HOST)
    host = f"[{address.hostname}]" if ":" in str(address.hostname) else address.hostname
    port = address.port or (None if is_whole else DEFAULT_PORT)
    return f"{address.scheme}://{host}{f':{port}' if port else ''}{address.path.rstrip('/')}"
