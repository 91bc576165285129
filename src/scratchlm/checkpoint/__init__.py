"""Model folders: config.json, weights and tokenizer as Hugging Face lays them out.

Imports `model`, `tokenizer`, `files` and `errors`.
"""
