"""Checkpoints: model folders in Hugging Face's layout, with config.json, weights and tokenizer.

Imports `model`, `tokenizer`, `files` and `errors`.
"""
