"""Generation: new tokens after a prompt, and answers to many instructions.

Imports `assistant`, `checkpoint`, `model`, `tokenizer`, `stage` and what is below them.
"""

from scratchlm.generation.decode import Sampling, generate_text

__all__ = ["Sampling", "generate_text"]
