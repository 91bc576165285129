"""The judges that judge.judges names: language models on servers, and the embedded scorer."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

from scratchlm.assistant.instructions import VARIANTS, AnsweredEntry
from scratchlm.judging.answer_cache import AnswerCache, answer_key, cache_path
from scratchlm.judging.backends import ollama, openai
from scratchlm.judging.client import Backend, BackendError, Completion
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.probes import probe_items
from scratchlm.judging.prompt import JudgePrompt, Reading, load_prompt
from scratchlm.judging.verdicts import (
    DEFAULT_PATIENCE_S,
    Item,
    Judge,
    Question,
    Row,
    ServerGone,
    Verdict,
    judge_items,
    judge_responses,
    response_items,
)
from scratchlm.params.schema import JudgeParams
from scratchlm.stage.environment import read_count, read_seconds

DEFAULT_CONCURRENCY, MOST_AT_ONCE = 4, 64
DEFAULT_TIMEOUT_S = 120.0  # per question; loading a model's weights falls into the first one
BYTES_PER_TOKEN = 3  # fewer than text has (4 to 5), so that tokens are counted too high rather than too low


class LlmJudge(Judge):
    """A language model as the judge: what it is asked, which of its words count, and nothing asked twice."""

    def __init__(self, backend: Backend, prompt: JudgePrompt, cache: AnswerCache, *, num_ctx: int) -> None:
        """`num_ctx` is what the model can see, in tokens."""
        self.name = f"{backend.kind}:{backend.model}"
        self.model, self.model_digest = backend.model, backend.model_digest
        # What decides its scores too, but for the address: that may change from run to run.
        self._columns = {"options": {name: value for name, value in backend.options.items() if name != "base_url"}}
        self._backend, self._cache, self._num_ctx = backend, cache, num_ctx
        self._prompt, self._pair_prompt = prompt, load_prompt("pairwise")
        self._asked: Counter[str] = Counter()  # how often in vain, by key
        self._locks: dict[str, threading.Lock] = {}  # by key: two who want one answer ask for it once

    def judge(self, verdict: Verdict, may_ask: bool = True) -> int | Question:
        """Score one answer, or the first of a pair, asking only for what the cache does not hold.

        After words without a score comes one more question, with a reminder of the format, then a lenient reading.
        """
        verdict.columns = self._columns
        other = verdict.other_response
        if other is None and not verdict.response.strip():
            verdict.status, verdict.score, verdict.reason = "empty", 0.0, "the response is empty"
            return 0
        if other == verdict.response:
            verdict.status, verdict.score, verdict.reason = "equal", 50.0, "both answers are the same text"
            return 0
        form = self._form(verdict)
        first, second = self.questions(verdict)
        said: list[Completion] = []
        n_new, failure = 0, None
        try:
            for question in (first, second):
                key = question.key
                with self._locks.setdefault(key, threading.Lock()):
                    completion = self._cache.get(key)
                    if completion is None and not may_ask:
                        return question
                    if completion is None:
                        start_s = time.monotonic()
                        self._asked[key] += 1
                        new = self._backend.ask(question.text, form.schema)
                        latency_s = time.monotonic() - start_s
                        text = new.text.encode("utf-8", "replace").decode()  # JSON can hold half a character
                        completion = replace(new, text=text, attempts=self._asked.pop(key), latency_s=latency_s)
                        self._cache.put(key, self.name, completion)
                        n_new += 1
                said.append(completion)
                reading, raw = self._read(form, question.text, completion), completion.text
                if reading.score is not None or reading.status == "truncated":
                    break
            else:
                lenient = [(form.parse(one.text, True), one.text) for one in reversed(said)]
                reading, raw = next((found for found in lenient if found[0].score is not None), (reading, raw))
        except BackendError as problem:
            failure = problem
            reading, raw = Reading("http_error", None, failure.reason), "".join(one.text for one in said)
        verdict.failure = failure
        verdict.status, verdict.score, verdict.reason = reading
        verdict.raw, verdict.attempts = raw, sum(one.attempts for one in said) + self._asked[key]
        verdict.prompt, verdict.prompt_sha256 = form.name, hashlib.sha256(first.text.encode()).hexdigest()
        return n_new

    def questions(self, verdict: Verdict) -> tuple[Question, Question]:
        """What is asked about an answer that has to be asked about, first and, after words without a score, then."""
        form = self._form(verdict)
        text = form.render(verdict.entry, verdict.response, verdict.other_response)
        first, second = (
            Question(answer_key(self._backend, form.schema, asked, number), asked, form.schema)
            for number, asked in enumerate((text, f"{text}\n\n{form.reminder}"), start=1)
        )
        return first, second

    def lacking(self, items: Iterable[Item]) -> Iterator[Question]:
        """Yield what would be asked next about the items whose verdicts need more than the cache holds, each once."""
        found = set()
        for item in items:
            asked = self.judge(Verdict(*item), may_ask=False)
            if isinstance(asked, Question) and asked.key not in found:
                found.add(asked.key)
                yield asked

    def is_alive(self) -> bool:
        """Ask something that no answer to judge can spoil; whether any reply comes."""
        with suppress(BackendError):
            self._backend.ask(self._prompt.reminder, self._prompt.schema)
            return True
        return False

    def _form(self, verdict: Verdict) -> JudgePrompt:
        return self._prompt if verdict.other is None else self._pair_prompt

    def _read(self, form: JudgePrompt, question: str, reply: Completion) -> Reading:
        """Read a reply of which nothing was cut.

        A server that drops the front of a long prompt says so by its own count alone: it reaches `num_ctx`, or stays
        below the number of words where the prompt may be too long; a small count for a short prompt means nothing, as
        some leave out what they remember. Without a count, more words than `num_ctx` say so.
        """
        seen, words = reply.prompt_tokens, len(question.split())  # each word is at least one token
        may_be_too_long = len(question.encode()) / BYTES_PER_TOKEN >= self._num_ctx
        if max(words, seen or 0) >= self._num_ctx or (seen is not None and seen < words and may_be_too_long):
            shown = f"{words} words" if seen is None else f"{words} words, of which the judge saw {seen} tokens,"
            cut = f"a prompt of {shown} does not fit into the {self._num_ctx} tokens of judge.num_ctx: raise it"
        elif reply.finish == "length":
            said = "" if reply.answer_tokens is None else f" after {reply.answer_tokens} tokens"
            cut = f"the judge's answer was cut{said} (judge.max_answer_tokens)"
        else:
            return form.parse(reply.text, False)
        return Reading("truncated", None, cut)


def open_judge(name: str, settings: JudgeParams, seed: int, cache: AnswerCache) -> Judge:
    """Open the judge called `name`, as in judge.judges.

    SCRATCHLM_JUDGE_TIMEOUT_S sets how long one question may take, 120 s if unset.
    Raises InputError that says what to do where the server or the model is missing.
    """
    if name == "overlap":
        return OverlapJudge()
    kind, _, model = name.partition(":")
    connect = {"ollama": ollama.connect, "openai": openai.connect}[kind]
    backend = connect(model, settings, seed, read_seconds("SCRATCHLM_JUDGE_TIMEOUT_S", DEFAULT_TIMEOUT_S))
    return LlmJudge(backend, load_prompt(settings.prompt), cache, num_ctx=settings.num_ctx)


def name_judge(
    name: str, settings: JudgeParams, seed: int, cache: AnswerCache
) -> tuple[LlmJudge, openai.OpenAiBackend]:
    """Make the judge called "openai:MODEL", and its backend, without looking for the server."""
    timeout_s = read_seconds("SCRATCHLM_JUDGE_TIMEOUT_S", DEFAULT_TIMEOUT_S)
    backend = openai.name_model(name.partition(":")[2], settings, seed, timeout_s)
    return LlmJudge(backend, load_prompt(settings.prompt), cache, num_ctx=settings.num_ctx), backend


def all_items(entries: Sequence[AnsweredEntry], settings: JudgeParams, seed: int) -> Iterator[Item]:
    """Yield everything that a language model has to judge: answers, pairs and probes."""
    return chain(response_items(entries, settings.pairwise), probe_items(entries, settings.probes, seed))


def judge_by_all(
    entries: Sequence[AnsweredEntry], settings: JudgeParams, seed: int
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, list[Row]], list[ServerGone]]:
    """Have all answers, pairs and probes judged by each judge; return each kind of rows by its name, and who is gone.

    Pairs are for language models alone: `overlap` has no rows of them, and without `settings.pairwise` no judge has.
    """
    concurrency = read_count("SCRATCHLM_JUDGE_CONCURRENCY", DEFAULT_CONCURRENCY, MOST_AT_ONCE)
    patience_s = read_seconds("SCRATCHLM_JUDGE_PATIENCE_S", DEFAULT_PATIENCE_S)
    items = probe_items(entries, settings.probes, seed)
    rows: dict[str, list[Row]] = {}
    probes: dict[str, list[Row]] = {}
    gone: list[ServerGone] = []
    with AnswerCache(cache_path()) as cache:

        def find_judge(name: str) -> Judge:
            if name.startswith("openai:"):
                judge, _ = name_judge(name, settings, seed, cache)
                if next(judge.lacking(all_items(entries, settings, seed)), None) is None:
                    return judge  # its server, which may be a batch by now, has nothing left to say
            return open_judge(name, settings, seed, cache)

        # All of them before the first question: a missing model shows itself at once.
        for judge in [find_judge(name) for name in settings.judges]:
            try:
                pairwise = settings.pairwise and isinstance(judge, LlmJudge)
                rows[judge.name] = judge_responses(entries, judge, concurrency, patience_s, pairwise)
                probes[judge.name] = judge_items(items, judge, concurrency, patience_s, "probes")
            except ServerGone as server:
                gone.append(server)
                rows.setdefault(judge.name, server.rows)  # unless it was the probes that it left out
    n_answers = len(VARIANTS) * len(entries)
    verdicts = {name: found[:n_answers] for name, found in rows.items()}
    pairs = {name: found[n_answers:] for name, found in rows.items() if len(found) > n_answers}
    return verdicts, pairs, probes, gone
