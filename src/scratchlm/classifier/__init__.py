"""The classifier of chapter 6: messages, their sources, the model and its baseline.

Imports `training`, `checkpoint`, `download`, `model`, `tokenizer` and what is below them; never `assistant`.
"""
