"""What a base writes before any fine-tuning (chapter 6.4): sensible text shows that its weights were loaded right."""

from __future__ import annotations

from collections.abc import Sequence

from scratchlm.classifier.prompted import question
from scratchlm.files.block import labelled
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.language_model import LanguageModel
from scratchlm.tokenizer.protocol import Tokenizer

MESSAGE = "You are a winner you have been specially selected to receive $1000 cash or a $2000 award."
PROMPTS = {"Every effort moves you": 15, question(MESSAGE): 23}  # the book's prompts, and how many tokens it adds


def sample_base(model: LanguageModel, tokenizer: Tokenizer) -> list[str | None]:
    """Continue the book's two prompts greedily; None stands for a prompt that fills the model's context."""
    return [
        generate_text(model, tokenizer, prompt, max_new_tokens, Sampling())
        if len(tokenizer.encode_ordinary(prompt)) < model.config.context_length
        else None
        for prompt, max_new_tokens in PROMPTS.items()
    ]


def describe_base(name: str, texts: Sequence[str | None]) -> str:
    """Lay out as a section of Markdown what `sample_base` returned for the base with this name."""
    lines = [f"## {name}", "", "```text"]
    for prompt, text in zip(PROMPTS, texts, strict=True):
        lines += labelled("prompt", prompt)
        lines += [*labelled("text", text or "(not continued: the prompt fills the model's context)"), ""]
    return "\n".join([*lines[:-1], "```"]) + "\n"
