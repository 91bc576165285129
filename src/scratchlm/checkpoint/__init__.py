"""Checkpoints: model folders in Hugging Face's layout, with config.json, weights and tokenizer (chapter 5.4).

Imports `model`, `tokenizer`, `files` and `errors`.
"""
