"""A model of the pipeline as the judge of another."""

from __future__ import annotations

import pytest
from openai import OpenAI

from scratchlm.errors import InputError
from scratchlm.judging.backends.openai import connect
from scratchlm.params.schema import JudgeParams

SETTINGS = JudgeParams(
    judges=["openai:assistant"],
    prompt="book",
    pairwise=False,
    temperature=0.0,
    num_ctx=320,
    max_answer_tokens=9,
    probes=0,
    min_coverage=0.0,
)


def test_a_judge_can_be_a_model_of_the_pipeline(address: str, client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")
    schema = {"type": "object"}  # refused at first, then left out
    said = connect("assistant", SETTINGS, seed=1, timeout_s=30).ask("the cat", schema)
    messages = [{"role": "user", "content": "the cat"}]
    wanted = client.chat.completions.create(model="assistant", messages=messages, max_tokens=9)  # type: ignore[call-overload]
    assert said.text == wanted.choices[0].message.content
    assert (said.prompt_tokens, said.answer_tokens) == (wanted.usage.prompt_tokens, wanted.usage.completion_tokens)
    with pytest.raises(InputError, match="it has assistant, base, preferred, pretrained"):
        connect("llama3", SETTINGS, seed=1, timeout_s=30)
