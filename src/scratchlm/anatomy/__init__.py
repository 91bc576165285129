"""Anatomy: what happens inside a GPT, as readable code, shapes, attention maps and figures.

`heads` and `formulas` are the readable forms of chapters 3 and 4; tests hold the fast forms in `model` equal to them.
Imports `training`, `model`, `tokenizer`, `files` and `errors`.
"""
