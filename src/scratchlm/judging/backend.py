"""Backends: the servers behind an LLM judge, each asked one prompt at a time through one small interface."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from scratchlm.errors import InputError

Finish = Literal["stop", "length", "other"]

CHECK_TIMEOUT_S = 10.0  # listing the models loads nothing
MAX_LISTED_MODELS = 10
MOST_TOKENS = 2**31  # more than any model sees
SHORTEST_KEY = 4  # taking shorter "keys" out of every text would only garble it
MAX_REASON_CHARS = 200  # a proxy's error is a page of HTML
WAY_OUT = "or set `judge.judges: [overlap]`, which needs no server"


@dataclass(frozen=True)
class Answer:
    """What a model said to one prompt; token counts are the server's own, None where it gives none."""

    text: str
    finish: Finish
    prompt_tokens: int | None
    answer_tokens: int | None


class BackendError(Exception):
    """A call that brought no answer; `reason` is one line that holds no secret."""

    def __init__(self, reason: object, *, worth_retrying: bool, retry_after_s: float | None = None) -> None:
        self.reason = one_line(reason)
        self.worth_retrying = worth_retrying  # busy, slow or away, as against refusing the question
        self.retry_after_s = retry_after_s  # the server's own wish
        super().__init__(self.reason)


class TooSlow(BackendError):
    """A call that took longer than SCRATCHLM_JUDGE_TIMEOUT_S."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s", worth_retrying=True)


class Backend(Protocol):
    """A model on a server; two with equal kind, model, digest and options give the same answers."""

    @property
    def kind(self) -> str:
        """The server's kind: "ollama" or "openai"."""

    @property
    def model(self) -> str:
        """The model's name as the user gave it."""

    @property
    def model_digest(self) -> str | None:
        """The exact weights behind `model`, where the server knows them."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Everything else that decides an answer."""

    def ask(self, prompt: str, schema: Mapping[str, Any] | None) -> Answer:
        """Ask once, for an answer that keeps to the JSON schema if there is one; raises only BackendError."""

    def close(self) -> None:
        """Give the connections back."""


def is_worth_retrying(status: int) -> bool:
    """Whether asking again can help after this HTTP status: the server is busy or broken, the question is not."""
    return status == 429 or status >= 500


def list_models(names: list[str]) -> str:
    """Name a server's models for an error message, ten at most."""
    more = f" and {len(names) - MAX_LISTED_MODELS} more" if len(names) > MAX_LISTED_MODELS else ""
    return ", ".join(sorted(names)[:MAX_LISTED_MODELS]) + more if names else "none at all"


def one_line(words: object) -> str:
    """Squeeze `words`, mostly an error's, into one line of at most 200 characters of valid Unicode."""
    return " ".join(str(words).split())[:MAX_REASON_CHARS].encode("utf-8", "replace").decode()


def redact(text: str, key: str) -> str:
    """Take the key out of a text, because some servers repeat it in their errors."""
    return text.replace(key, "[key]") if len(key) >= SHORTEST_KEY else text


def read_count(count: object) -> int | None:
    """The number of tokens that a server gives, None for nonsense: no database keeps a number of 30 digits."""
    return count if type(count) is int and 0 <= count <= MOST_TOKENS else None


def read_retry_after_s(header: str | None) -> float | None:
    """The seconds in a Retry-After header, None for a date or nonsense."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def read_seconds(name: str, default_s: float) -> float:
    """Read a time above 0 from the environment variable `name`; raises InputError for anything else."""
    text = os.environ.get(name, str(default_s))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"{name} is {text!r}, wanted a number of seconds above 0, such as {default_s:g}")
    return seconds
