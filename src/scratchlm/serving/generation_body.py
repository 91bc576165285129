"""What requests for a completion and for a chat have in common.

Clients send many keys that mean nothing here. One that cannot change the answer is accepted, one that would is
refused by its name, and null is the same as nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from scratchlm.generation.decode import Sampling
from scratchlm.params.file import show_value
from scratchlm.params.schema import MIN_TEMPERATURE
from scratchlm.serving.bodies import Body, Refused

MOST_STOPS = 16  # OpenAI takes 4, and some tasks of lm-eval have more
MOST_LOGPROBS = 20

# Who asks, how OpenAI handles it, and how a model thinks that does so.
IGNORED = {
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("cache_prompt", "parallel_tool_calls", "reasoning_effort", "verbosity"),
}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_p": (1,),
    "min_p": (0,),
    "typical_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "repeat_penalty": (1,),
    "logit_bias": ({},),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "chat_template_kwargs": ({},),
    "skip_special_tokens": (True,),
    "ignore_eos": (False,),
    "min_tokens": (0,),
}


def greedy_or_warm(temperature: float) -> float:
    """Refuse a temperature that params.yaml would refuse too."""
    if 0 < temperature < MIN_TEMPERATURE:
        raise ValueError(f"0 (greedy) or at least {MIN_TEMPERATURE}")
    return temperature


def as_list(stop: Any) -> Any:
    """Turn a single stop text into a list."""
    return [stop] if isinstance(stop, str) else stop


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    model_config = ConfigDict(strict=True)

    include_usage: bool = False  # the counts of tokens come in a last event


Tokens = Annotated[int, Field(ge=0, le=2**31)]
StopText = Annotated[str, Field(min_length=1, max_length=1_000)]


class GenerationBody(Body):
    """The keys of both kinds of request. Greedy unless a temperature is given, as everywhere in this project."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=100), AfterValidator(greedy_or_warm)] = 0.0
    top_k: int = Field(0, ge=-1, le=2**31)  # 0 and -1: all
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: list[StopText] = Field([], max_length=MOST_STOPS)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    return_token_ids: bool = False  # vLLM's name

    @model_validator(mode="before")
    @classmethod
    def without_neutral(cls, found: Any) -> Any:
        """Drop what cannot change the answer; raise Refused for what would."""
        return dict(_with_meaning(found)) if isinstance(found, dict) else found

    def sampling(self, number: int = 0) -> Sampling:
        """Return how the answer to prompt `number` is drawn: without a seed, anew each time."""
        seed = secrets.randbits(32) if self.seed is None else self.seed + number
        return Sampling(self.temperature, self.top_k if self.top_k > 0 else None, seed)


def _with_meaning(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        if value is None or key in IGNORED:
            continue
        if key not in NEUTRAL:
            yield key, as_list(value) if key == "stop" else value
        elif value not in NEUTRAL[key]:
            wanted = " or ".join(map(show_value, NEUTRAL[key]))
            raise Refused(400, f"{key}: got {show_value(value)}, and this server can only do {wanted}", key)
