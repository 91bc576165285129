"""The assistant of chapter 7: instructions and preference pairs, their sources and batches, preference
tuning, and its model folder.

Imports `training`, `checkpoint`, `download`, `model`, `tokenizer` and what is below them; never `classifier`.
"""
