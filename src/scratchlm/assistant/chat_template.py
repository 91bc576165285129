"""The prompt of an assistant as a chat template in Jinja, which transformers, llama.cpp and others fill in.

https://huggingface.co/docs/transformers/chat_templating
"""

from __future__ import annotations

import json

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.params.choices import PromptStyle

TEMPLATE = "chat_template.jinja"  # Hugging Face's name
CONTENT = "\0"  # where the message stands; no prompt has it
NO_MESSAGE = "wanted a message with the role user and a text as its content: this model answers the last of them"


def jinja_template(style: PromptStyle) -> str:
    """Return a template that renders a chat's last message of the user as `format_prompt` does an instruction.

    All other messages are left out: the training had single turns, and a history is nothing that the model has seen.
    """
    before, after = format_prompt(Entry(instruction=CONTENT, input="", output=""), style).split(CONTENT)
    # The texts are literals, because Jinja drops a line end after a block, and at the end of a template.
    return f"""\
{{%- set asked = messages | selectattr("role", "equalto", "user") | list -%}}
{{%- if not asked or asked[-1]["content"] is not string -%}}
{{{{- raise_exception({json.dumps(NO_MESSAGE)}) -}}}}
{{%- endif -%}}
{{{{- {json.dumps(before)} + asked[-1]["content"] + {json.dumps(after)} -}}}}
"""
