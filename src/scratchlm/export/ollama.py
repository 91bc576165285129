"""What Ollama needs beside a GGUF file: the template of its prompts in Go's language, parameters, and a Modelfile.

A folder on the Hugging Face hub that `ollama run hf.co/...` takes has the first two as files of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.params.choices import PromptStyle

# Of all messages the last one: what follows it has the length 1. A model of single turns has learned nothing of others.
LAST_MESSAGE = "{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}%s{{ end }}{{ end }}"
TEXT_ALONE = "{{ .Prompt }}"
MAX_ANSWER_TOKENS = 256  # as `scratchlm ask` has it, where the context is large enough


def go_template(style: PromptStyle | None) -> str:
    """Return the template that renders the last message as `format_prompt` does; without a style, a text as it is."""
    if style is None:
        return TEXT_ALONE
    return LAST_MESSAGE % format_prompt(Entry(instruction="{{ .Content }}", input="", output=""), style)


def parameters(context_length: int, stops: Sequence[str]) -> dict[str, Any]:
    """Return Ollama's parameters: greedy answers of at most half a context.

    When an answer outgrows the context, Ollama keeps the first few tokens, drops the older half of the others, and goes
    on, which gives garbage.
    """
    return {
        "num_ctx": context_length,
        "num_predict": min(MAX_ANSWER_TOKENS, context_length // 2),
        "stop": list(stops),
        "temperature": 0,
    }


def modelfile(gguf_name: str, template: str, params: dict[str, Any], licence: str) -> str:
    """Return the Modelfile of a GGUF file beside it, for `ollama create`, with a `licence` if there is one."""
    lines = [f"FROM ./{gguf_name}", f'TEMPLATE """{template}"""']
    for key, value in params.items():
        lines += [f"PARAMETER {key} {json.dumps(one)}" for one in (value if isinstance(value, list) else [value])]
    if licence:
        lines.append(f'LICENSE """{licence}"""')
    return "\n".join([*lines, ""])
