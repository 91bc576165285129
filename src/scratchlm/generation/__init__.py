"""Generation: continuing prompts (chapters 4.7, 5.3 and 6.4), and answering many instructions (chapter 7.7).

Imports `assistant`, `classifier`, `checkpoint`, `model`, `params`, `stage`, `tokenizer`, `files` and `errors`.
"""

from scratchlm.generation.decode import Sampling, generate_text

__all__ = ["Sampling", "generate_text"]
