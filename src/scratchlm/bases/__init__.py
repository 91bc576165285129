"""Bases: the checkpoints that trainings start from (chapters 5.4 and 5.5), and their measures.

Imports `checkpoint`, `download`, `training`, `params`, `model`, `tokenizer` and `files`.
"""
