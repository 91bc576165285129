"""Bases: the checkpoints that fine-tuning starts from (chapter 5.5), and their measures.

Imports `checkpoint`, `download`, `training`, `model` and `tokenizer`.
"""
