"""How a chat becomes a prompt, in Jinja: the template that transformers and llama.cpp read."""

from __future__ import annotations

import json

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.params.choices import PromptStyle


def jinja_template(style: PromptStyle) -> str:
    """Return the template that renders the last user message as `format_prompt` does, without an input."""
    before, after = format_prompt(Entry(instruction="\0", input="", output=""), style).split("\0")
    last = "(messages | selectattr('role', 'equalto', 'user') | list | last)['content']"
    return f"{{{{ {json.dumps(before)} + {last} + {json.dumps(after)} }}}}"
