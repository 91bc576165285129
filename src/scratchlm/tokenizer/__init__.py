"""Tokenizers of chapter 2: byte pairs or words, from text to token ids and back.

Imports `params.choices`, `files` and `errors`.
"""
