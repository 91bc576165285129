"""Export: a model folder as GGUF, for Ollama, and for the Hugging Face hub, with a model card.

Imports `assistant`, `checkpoint`, `tokenizer`, `model`, `params`, `files` and `errors`.
"""
