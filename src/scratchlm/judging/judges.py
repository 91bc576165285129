"""The judges that judge.judges names, opened: their servers found, their models there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from scratchlm.errors import InputError
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.backend import Backend, read_seconds
from scratchlm.judging.llm_judge import LlmJudge
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.prompt import load_prompt
from scratchlm.judging.verdicts import Judge
from scratchlm.params.schema import JudgeParams

DEFAULT_TIMEOUT_S = 120.0  # per question; loading a model's weights falls into the first one


@contextmanager
def open_judge(name: str, settings: JudgeParams, seed: int, cache: AnswerCache) -> Iterator[Judge]:
    """Open the judge called `name`, as in judge.judges, and close its connections afterwards.

    SCRATCHLM_JUDGE_TIMEOUT_S sets how long one question may take, 120 s if unset.
    Raises InputError that says what to do where the server or the model is missing.
    """
    if name == "overlap":
        yield OverlapJudge()
        return
    timeout_s = read_seconds("SCRATCHLM_JUDGE_TIMEOUT_S", DEFAULT_TIMEOUT_S)
    backend = connect(name, settings, seed, timeout_s)
    try:
        yield LlmJudge(backend, load_prompt(settings.prompt), cache, num_ctx=settings.num_ctx, timeout_s=timeout_s)
    finally:
        backend.close()


def connect(name: str, settings: JudgeParams, seed: int, timeout_s: float) -> Backend:
    """Connect to the model of "ollama:MODEL" or "openai:MODEL"."""
    kind, _, model = name.partition(":")
    if kind == "openai":
        from scratchlm.judging.backends import openai as openai_backend

        return openai_backend.connect(
            model,
            temperature=settings.temperature,
            max_answer_tokens=settings.max_answer_tokens,
            seed=seed,
            timeout_s=timeout_s,
        )
    try:
        from scratchlm.judging.backends import ollama as ollama_backend  # late: the other judges do without the client
    except ValueError:  # the client reads OLLAMA_HOST when it is imported
        host = os.environ.get("OLLAMA_HOST", "").rpartition("@")[2]
        raise InputError(f"OLLAMA_HOST is {host!r}, no address: set it as http://127.0.0.1:11434") from None
    return ollama_backend.connect(
        model,
        temperature=settings.temperature,
        num_ctx=settings.num_ctx,
        max_answer_tokens=settings.max_answer_tokens,
        seed=seed,
        timeout_s=timeout_s,
    )
