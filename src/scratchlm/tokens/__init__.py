"""Tokens: the corpus as token ids on disk, the windows that training reads (chapter 2.6), and the bigram baseline.

Imports `corpus`, `training`, `stage`, `tokenizer`, `files` and `errors`.
"""
