"""Anatomy: what happens inside a GPT or a Llama, as readable code, shapes, attention maps and figures.

`heads` and `formulas` are the readable forms of chapters 3 and 4 and of a Llama's parts; tests hold the fast forms in
`model` equal to them.
Imports `training`, `model`, `tokenizer`, `files` and `errors`.
"""
