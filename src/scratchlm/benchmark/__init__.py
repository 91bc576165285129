"""Multiple-choice questions: reading them, how likely a model finds each choice, and what the answers say together.

Imports `assistant`, `checkpoint`, `download`, `model`, `params`, `stage`, `tokenizer`, `sample`, `files` and `errors`.
"""
