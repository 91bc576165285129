"""Base models: the pretrained weights that fine-tuning starts from.

Imports `checkpoint`, `download`, `model`, `tokenizer` and what is below them.
"""
