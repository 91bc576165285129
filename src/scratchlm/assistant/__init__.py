"""The assistant of chapter 7: instructions, their sources and batches, its model folder, and what it answered.

Imports `training`, `checkpoint`, `download`, `model`, `tokenizer` and what is below them; never `classifier`.
"""
