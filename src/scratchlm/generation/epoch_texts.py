"""What a model writes while it is pretrained: a text after each epoch, on one page (chapter 5.2)."""

from __future__ import annotations

from collections.abc import Sequence


def describe_texts(prompt: str, texts: Sequence[str]) -> str:
    """Lay out as Markdown what a model wrote after a prompt, a text for each of the epochs."""
    parts = [f"## Epoch {epoch}\n\n{text}\n" for epoch, text in enumerate(texts, start=1)]
    return "\n".join([f"# What the model writes after each epoch\n\nPrompt: {prompt}\n", *parts])
