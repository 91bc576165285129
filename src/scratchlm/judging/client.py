"""The HTTP client of all backends: a question out, a completion back in time, and no key in any message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import requests
import urllib3

from scratchlm.assistant.instructions import Finish
from scratchlm.download.deadline import Deadline, TimedAdapter
from scratchlm.errors import InputError
from scratchlm.files.text import one_line

T = TypeVar("T")

CONNECT_S = 10.0  # as long as the list of models may take, which loads nothing
MAX_BODY_BYTES = 4 * 2**20  # a completion of a few hundred tokens takes a few kB
MAX_ERROR_CHARS = 200  # a proxy's error is a page of HTML
MAX_LISTED_MODELS = 10
MOST_TOKENS = 2**31  # more than any model sees
SHORTEST_KEY = 4  # taking shorter "keys" out of every text would only garble it
WAY_OUT = "or set `judge.judges: [overlap]`, which needs no server"


@dataclass(frozen=True)
class Completion:
    """What a model said to one question, as the cache keeps it; token counts are None where the server gives none."""

    text: str
    finish: Finish | Literal["other"]
    prompt_tokens: int | None
    answer_tokens: int | None
    attempts: int = 1  # how often the question was asked until this came
    # Of the last time, None in a batch; in no row, because the same completions must make the same bytes.
    latency_s: float | None = 0.0


class BackendError(Exception):
    """A question without a completion; `reason` is one line that holds no key."""

    def __init__(
        self, message: str, *, worth_retrying: bool = False, retry_after_s: float | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.reason = one_line(message, MAX_ERROR_CHARS)
        self.worth_retrying = worth_retrying  # the server is busy, slow or away, and does not refuse the question
        self.retry_after_s = retry_after_s  # the wait that the server asks for
        self.status = status  # of HTTP, 0 where that is not the trouble


class TooSlow(BackendError):
    """A question that was not answered within SCRATCHLM_JUDGE_TIMEOUT_S."""


@dataclass
class Backend:
    """A model on a server, for many threads; two of equal kind, model, digest and options say the same."""

    kind: ClassVar[str]  # of API: "ollama" or "openai"

    address: str
    key: str = field(repr=False)
    model: str  # its name as the user gave it
    options: Mapping[str, Any]  # everything else that decides a completion
    timeout_s: float  # for each question
    uses_proxies: bool
    model_digest: str | None = None  # the exact weights behind the name, where the server knows them

    def ask(self, question: str, schema: Mapping[str, Any] | None) -> Completion:
        """Ask once, for a completion that keeps to the JSON schema if there is one; raises only BackendError."""
        raise NotImplementedError

    def find_model(self, path: str, key: str, name: str, model: str, way_to_get: str) -> None:
        """Note the digest of `model`; raises BackendError if there is no list, InputError if that lacks it."""
        digests = self.send(path, lambda said: {str(one[name]): one.get("digest") for one in said[key]})
        if model not in digests:
            names = sorted(digests)[:MAX_LISTED_MODELS]
            more = f" and {len(digests) - len(names)} more" if len(digests) > len(names) else ""
            raise InputError(
                f"{self.address} has no model {self.model!r} (judge.judges), it has "
                f"{', '.join(names) or 'none at all'}{more}: {way_to_get}, {WAY_OUT}"
            )
        self.model_digest = digests[model] if isinstance(digests[model], str) else None

    def send(self, path: str, read: Callable[[Any], T], payload: Mapping[str, Any] | None = None) -> T:
        """Post `payload` as JSON, or get where there is none, and `read` the JSON that comes back whole and in time.

        Raises only BackendError, worth retrying after 429, 5xx, timeouts and lost connections.
        """
        connect_s = min(self.timeout_s, CONNECT_S)
        timeout_s = connect_s if payload is None else self.timeout_s
        session = requests.Session()
        session.trust_env = self.uses_proxies
        session.auth = lambda request: request  # or requests would send a password from ~/.netrc
        for scheme in ("http://", "https://"):
            session.mount(scheme, TimedAdapter(Deadline(timeout_s)))
        try:
            with session:
                response = session.request(
                    "GET" if payload is None else "POST",
                    self.address + path,
                    json=payload,
                    headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
                    timeout=(connect_s, timeout_s),
                    allow_redirects=False,  # the key is for this server alone
                    stream=True,
                )
                content = response.raw.read(MAX_BODY_BYTES + 1, decode_content=True)
            if len(content) > MAX_BODY_BYTES:
                raise BackendError(f"an answer of more than {MAX_BODY_BYTES:,} bytes")
            if response.is_redirect:
                target = urlsplit(response.headers["Location"]).hostname or "another address"
                raise BackendError(f"a redirect to {target}, which is not followed")
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            raise TooSlow(f"no answer within {timeout_s:g} s", worth_retrying=True) from None
        except (requests.ConnectionError, urllib3.exceptions.ProtocolError) as problem:
            raise BackendError(type(problem).__name__, worth_retrying=True) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as problem:
            raise BackendError(self._without_key(f"{type(problem).__name__}: {problem}")) from None
        body, status = content.decode("utf-8", "replace"), response.status_code
        if status != 200:
            with suppress(ValueError, LookupError, TypeError, RecursionError):
                body = str(json.loads(body)["error"]["message"])  # OpenAI's own words
            raise BackendError(
                self._without_key(f"HTTP {status}: {body}"),
                worth_retrying=status == 429 or status >= 500,
                retry_after_s=read_retry_after_s(response.headers.get("Retry-After")),
                status=status,
            )
        try:
            return read(json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            start = self._without_key(body)[:80]
            raise BackendError(f"{type(problem).__name__}: {problem}: what came begins with {start!r}") from None

    def completion(self, text: object, finish: object, prompt_tokens: object, answer_tokens: object) -> Completion:
        """Make a completion of what the server says; a count may be nonsense: no database keeps one of 30 digits."""
        if not isinstance(text, str | None):
            raise TypeError(f"a message of type {type(text).__name__}, not text")
        end: Any = finish if finish in get_args(Finish) else "other"
        counts = [n if type(n) is int and 0 <= n <= MOST_TOKENS else None for n in (prompt_tokens, answer_tokens)]
        whole = (text or "").encode("utf-8", "replace").decode()  # JSON can hold half a character
        return Completion(self._without_key(whole), end, counts[0], counts[1])

    def _without_key(self, text: str) -> str:
        """Take the key out, because some servers repeat it in their errors; JSON may hold its slashes escaped."""
        if len(self.key) < SHORTEST_KEY:
            return text
        return text.replace(self.key, "[key]").replace(self.key.replace("/", "\\/"), "[key]")


def read_retry_after_s(header: str | None) -> float | None:
    """The seconds in a Retry-After header, None for a date or nonsense."""
    return float(header) if header and re.fullmatch(r"\d+(\.\d+)?", header) else None
