"""The book's judge: a model served by Ollama, asked once per answer, every fault of the server survived."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import ollama
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from scratchlm.errors import InputError
from scratchlm.judging import book_prompt
from scratchlm.judging.verdicts import Entry, Verdict

DEFAULT_HOST = "http://127.0.0.1:11434"
DEFAULT_TIMEOUT_S = 120.0  # per answer; loading a model's weights falls into the first one
CHECK_TIMEOUT_S = 10.0  # listing the models loads nothing
ATTEMPTS = 4
FIRST_WAIT_S = 0.5  # doubles from attempt to attempt, plus up to as much again at random
MAX_ANSWER_TOKENS = 256  # the prompt asks for one integer; a judge that rambles must end before the timeout

# What a call of the client can end in. The last two are its own defects: an error body that is a JSON list
# raises AttributeError, an answer that is one TypeError.
FAILURES = (
    ollama.ResponseError,
    ConnectionError,
    httpx.RequestError,
    ValueError,
    AttributeError,
    TypeError,
)


@dataclass(frozen=True)
class OllamaJudge:
    """Scores answers by the book's prompt; `connect` makes one, after checking that it can work."""

    backend: ClassVar[str] = "ollama"
    model: str
    model_digest: str | None
    options: Mapping[str, float]
    format_task: Callable[[Any], str]  # instruction and input as the book's prompt shows them
    client: ollama.Client

    def judge(self, entry: Entry, response: str) -> Verdict:
        """Ask for one answer's score, at most four times; whatever goes wrong becomes the verdict's status.

        Asked again after 429, 5xx, timeouts and dropped connections, with exponential backoff and jitter.
        An empty response scores 0 without asking.
        """
        if not response.strip():
            return Verdict("empty", 0.0, "the response is empty", attempts=0)
        prompt = book_prompt.render(self.format_task(entry), entry["output"], response)
        prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(FIRST_WAIT_S) + wait_random(0, FIRST_WAIT_S),
            retry=retry_if_exception(is_worth_retrying),
            reraise=True,
        )
        try:
            answer = retrying(self._ask, prompt)
        except FAILURES as failure:
            attempts = retrying.statistics["attempt_number"]
            return Verdict("http_error", None, one_line(failure), "", attempts, prompt_sha256)
        attempts = retrying.statistics["attempt_number"]
        raw = answer.message.content or ""
        if cut := self._what_was_cut(answer):
            return Verdict("truncated", None, cut, raw, attempts, prompt_sha256)
        reading = book_prompt.parse(raw)
        return Verdict(reading.status, reading.score, reading.reason, raw, attempts, prompt_sha256)

    def _ask(self, prompt: str) -> ollama.ChatResponse:
        messages = [{"role": "user", "content": prompt}]
        return self.client.chat(self.model, messages, stream=False, think=False, options=self.options)

    def _what_was_cut(self, answer: ollama.ChatResponse) -> str:
        """Say what was cut, "" for nothing: Ollama answers 200 even where it dropped the prompt's front."""
        num_ctx = self.options["num_ctx"]
        if answer.prompt_eval_count is not None and answer.prompt_eval_count >= num_ctx:
            return f"the prompt fills all {num_ctx} tokens of judge.num_ctx, so its front may be cut: raise it"
        if answer.done_reason == "length":
            return f"the judge's answer was cut after {answer.eval_count} tokens"
        return ""


def connect(
    model: str, *, temperature: float, num_ctx: int, seed: int, format_task: Callable[[Any], str]
) -> OllamaJudge:
    """Make a judge of a model on the server at OLLAMA_HOST, having seen that both are there.

    `num_ctx` in tokens. SCRATCHLM_JUDGE_TIMEOUT_S sets how long one answer may take, 120 s if unset.
    Raises InputError that says what to run when the server or the model is missing.
    """
    timeout_s = read_timeout_s()
    host = os.environ.get("OLLAMA_HOST") or DEFAULT_HOST
    model_digest = find_model(host, model, min(timeout_s, CHECK_TIMEOUT_S))
    # Ollama ignores these silently anywhere but inside `options`.
    options = {"seed": seed, "temperature": temperature, "num_ctx": num_ctx, "num_predict": MAX_ANSWER_TOKENS}
    return OllamaJudge(model, model_digest, options, format_task, open_client(host, timeout_s))


def find_model(host: str, model: str, timeout_s: float) -> str | None:
    """The digest of `model` on the server, which names its exact weights.

    Raises InputError where nothing answers, where what answers is not Ollama, and where it lacks the model.
    """
    way_out = "or set `judge.backend: overlap`, which needs no server"
    shown_host = host.rpartition("@")[2]  # without a name and password, should the address hold them
    try:
        with open_client(host, timeout_s) as client:
            digests: dict[str | None, str | None] = {listed.model: listed.digest for listed in client.list().models}
    except (ConnectionError, httpx.RequestError) as failure:
        raise InputError(
            f"no Ollama server answers at {shown_host} ({type(failure).__name__}): start one with "
            f"`ollama serve`, or point OLLAMA_HOST at the machine that runs it, {way_out}"
        ) from failure
    except (*FAILURES, httpx.InvalidURL) as failure:
        raise InputError(
            f"what answers at {shown_host} is not Ollama's API ({one_line(failure)}): check OLLAMA_HOST, "
            f"start a server with `ollama serve`, {way_out}"
        ) from failure
    # Ollama lists "llama3" as "llama3:latest"; a registry's address before the name may hold a colon too.
    full_name = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
    if full_name not in digests:
        has = ", ".join(sorted(name for name in digests if name)) or "none at all"
        raise InputError(
            f"Ollama at {shown_host} has no model {model!r} (judge.model), it has {has}: "
            f"run `ollama pull {model}`, or name one it has, {way_out}"
        )
    return digests[full_name]


def open_client(host: str, timeout_s: float) -> ollama.Client:
    """A client that waits at most `timeout_s` for an answer and goes through no proxy.

    Left to itself the client waits forever, and sends even 127.0.0.1 through HTTP_PROXY.
    """
    return ollama.Client(host, timeout=timeout_s, trust_env=False)


def is_worth_retrying(failure: BaseException) -> bool:
    """Whether asking again can help: the server was busy, slow or away, and did not refuse the question."""
    if isinstance(failure, ollama.ResponseError):
        return failure.status_code == 429 or failure.status_code >= 500
    return isinstance(failure, ConnectionError | httpx.TransportError)


def one_line(failure: BaseException) -> str:
    """Name a failure in one line of at most 200 characters (a proxy's error is a page of HTML)."""
    return " ".join(f"{type(failure).__name__}: {failure}".split())[:200]


def read_timeout_s() -> float:
    """The seconds that one answer may take, from SCRATCHLM_JUDGE_TIMEOUT_S."""
    text = os.environ.get("SCRATCHLM_JUDGE_TIMEOUT_S", str(DEFAULT_TIMEOUT_S))
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s < float("inf"):
        raise InputError(f"SCRATCHLM_JUDGE_TIMEOUT_S is {text!r}, wanted a number of seconds above 0, such as 120")
    return timeout_s
