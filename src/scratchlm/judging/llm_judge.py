"""A language model as the judge: what it is asked, which of its words count, and nothing asked twice."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import Counter

from scratchlm.judging.answer_cache import AnswerCache, CachedAnswer, answer_key
from scratchlm.judging.backend import Answer, Backend, BackendError, TooSlow
from scratchlm.judging.prompt import JudgePrompt
from scratchlm.judging.reading import Reading
from scratchlm.judging.verdicts import Entry, Verdict

BYTES_PER_TOKEN = 3  # fewer than text has (4 to 5), so that tokens are counted too high rather than too low


class LlmJudge:
    """Scores answers by asking a model on a server; many threads may use one judge at once."""

    def __init__(
        self, backend: Backend, prompt: JudgePrompt, cache: AnswerCache, *, num_ctx: int, timeout_s: float
    ) -> None:
        """`num_ctx` is what the model can see, in tokens; `timeout_s` bounds each question."""
        self.name = f"{backend.kind}:{backend.model}"
        self.model = backend.model
        self.model_digest = backend.model_digest
        self._backend = backend
        self._prompt = prompt
        self._cache = cache
        self._num_ctx = num_ctx
        self._timeout_s = timeout_s
        self._failures: Counter[str] = Counter()  # by the key of the answer that did not come
        self._locks: dict[str, threading.Lock] = {}  # by key: two who want one answer ask for it once

    def recall(self, entry: Entry, response: str) -> Verdict | None:
        """The verdict on an answer that is empty, which scores 0, or was asked about before; None for others."""
        return self._judge(entry, response, may_ask=False)

    def judge(self, entry: Entry, response: str) -> Verdict:
        """Score one answer, asking only for what the cache does not hold.

        Words without a score are followed by one more question, with a reminder of the format, and are then read
        leniently. Where the server gives no answer the verdict holds its failure, and can be asked for again.
        """
        verdict = self._judge(entry, response, may_ask=True)
        assert verdict is not None
        return verdict

    def is_alive(self) -> bool:
        """Ask something that no answer to judge can spoil; whether any answer comes."""
        try:
            self._ask_in_time(self._prompt.reminder)
        except BackendError:
            return False
        return True

    def _judge(self, entry: Entry, response: str, may_ask: bool) -> Verdict | None:
        if not response.strip():
            return Verdict("empty", 0.0, "the response is empty", attempts=0)
        prompt = self._prompt.render(entry, response)
        answers: list[CachedAnswer] = []
        asked = 0

        def verdict(reading: Reading, raw: str, failure: BackendError | None = None, failures: int = 0) -> Verdict:
            return Verdict(
                *reading,
                raw=raw,
                attempts=failures + sum(answer.attempts for answer in answers),
                prompt=self._prompt.name,
                prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
                asked=asked,
                failure=failure,
            )

        for number, question in enumerate((prompt, f"{prompt}\n\n{self._prompt.reminder}"), start=1):
            key = answer_key(self._backend, self._prompt.schema, question, number)
            answer = self._cache.get(key)
            if answer is None:
                if not may_ask:
                    return None
                try:
                    answer, is_new = self._answer(key, question)
                except BackendError as failure:
                    reading = Reading("http_error", None, failure.reason)
                    return verdict(reading, "".join(said.text for said in answers), failure, self._failures[key])
                asked += is_new
            answers.append(answer)
            reading = self._read(question, answer)
            if reading.score is not None or reading.status == "truncated":
                return verdict(reading, answer.text)
        for answer in reversed(answers):
            lenient = self._prompt.parse_leniently(answer.text)
            if lenient.score is not None:
                return verdict(lenient, answer.text)
        return verdict(reading, answers[-1].text)

    def _answer(self, key: str, question: str) -> tuple[CachedAnswer, bool]:
        """The answer to a question, and whether the server had to be asked; raises BackendError."""
        with self._locks.setdefault(key, threading.Lock()):
            if cached := self._cache.get(key):
                return cached, False
            start_s = time.monotonic()
            try:
                said = self._ask_in_time(question)
            except BackendError:
                self._failures[key] += 1
                raise
            answer = CachedAnswer(
                said.text.encode("utf-8", "replace").decode(),  # JSON can hold half a character
                said.finish,
                said.prompt_tokens,
                said.answer_tokens,
                self._failures[key] + 1,
                time.monotonic() - start_s,
            )
            self._cache.put(key, self.name, answer)
            return answer, True

    def _ask_in_time(self, question: str) -> Answer:
        """Ask in a thread that can be left behind: a server that sends a byte a minute never times out by itself."""
        outcome: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                outcome.put(self._backend.ask(question, self._prompt.schema))
            except BaseException as failure:
                outcome.put(failure)

        threading.Thread(target=ask, daemon=True).start()
        try:
            found = outcome.get(timeout=self._timeout_s)
        except queue.Empty:
            raise TooSlow(self._timeout_s) from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _read(self, question: str, answer: CachedAnswer) -> Reading:
        if cut := self._what_was_cut(question, answer):
            return Reading("truncated", None, cut)
        return self._prompt.parse(answer.text)

    def _what_was_cut(self, question: str, answer: CachedAnswer) -> str:
        """Say what was cut, "" for nothing: a server that drops the front of a long prompt answers as if nothing were.

        The server's own count says so by reaching `num_ctx`, or by staying below the number of words where the
        prompt may be too long; without a count, more words than `num_ctx` do. A count that is small for a short
        prompt means nothing: some servers leave out the part that they remember.
        """
        seen = answer.prompt_tokens
        words = len(question.split())  # each is at least one token
        may_be_too_long = len(question.encode()) / BYTES_PER_TOKEN >= self._num_ctx
        if (
            words >= self._num_ctx
            or (seen is not None and seen >= self._num_ctx)
            or (seen is not None and seen < words and may_be_too_long)
        ):
            shown = f"{words} words" if seen is None else f"{words} words, of which the judge saw {seen} tokens,"
            return f"a prompt of {shown} does not fit into the {self._num_ctx} tokens of judge.num_ctx: raise it"
        if answer.finish == "length":
            said = "" if answer.answer_tokens is None else f" after {answer.answer_tokens} tokens"
            return f"the judge's answer was cut{said} (judge.max_answer_tokens)"
        return ""
