"""What replies of OpenAI's interface have in common."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from scratchlm.tokenizer.protocol import Tokenizer


def head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """Return what every reply begins with; the events of a stream all have the same."""
    return {"id": f"{prefix}-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def usage(n_prompt: int, n_new: int) -> dict[str, int]:
    """Return the counts of tokens; the end of an answer is not counted."""
    return {"prompt_tokens": n_prompt, "completion_tokens": n_new, "total_tokens": n_prompt + n_new}


def token_text(tokenizer: Tokenizer, token: int) -> str:
    r"""Return a token as text, or as OpenAI writes one that is only a part of a character: bytes:\xe2\x82."""
    content = tokenizer.decode_single_token_bytes(token)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)
