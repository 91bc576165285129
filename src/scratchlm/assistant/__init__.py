"""The assistant of chapter 7: instructions, their sources, batches and its model folder.

Imports `training`, `checkpoint`, `download`, `model`, `tokenizer` and what is below them; never `classifier`.
"""
