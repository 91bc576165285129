"""What a base writes before any fine-tuning (chapter 6.4): sensible text shows that its weights were loaded right."""

from __future__ import annotations

from scratchlm.classifier.prompted import question
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.gpt import GPT
from scratchlm.tokenizer.protocol import Tokenizer

MESSAGE = "You are a winner you have been specially selected to receive $1000 cash or a $2000 award."
PROMPTS = {"Every effort moves you": 15, question(MESSAGE): 23}  # the book's prompts, and how many tokens it adds


def describe_base(name: str, model: GPT, tokenizer: Tokenizer) -> str:
    """Return a section of Markdown: the book's two prompts, and how a base continues each, greedily.

    A prompt that fills the model's context is not continued; the section says so.
    """
    lines = [f"## {name}"]
    context = model.config.context_length
    for prompt, max_new_tokens in PROMPTS.items():
        n_tokens = len(tokenizer.encode_ordinary(prompt))
        lines.append(f"### {prompt}")
        if n_tokens < context:
            lines.append(generate_text(model, tokenizer, prompt, max_new_tokens, Sampling()))
        else:
            lines.append(f"Not continued: the prompt has {n_tokens} tokens, and this model sees {context} at once.")
    return "\n\n".join(lines) + "\n"
