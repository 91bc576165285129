"""Tokens: a corpus as token ids on disk, and the windows that training sees of them.

Imports `corpus`, `tokenizer`, `files` and `errors`.
"""
