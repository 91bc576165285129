"""Judging: scores for answers, what the scores say together, and comparisons of two results.

Imports `assistant.instructions`, `stage`, `params`, `files` and `errors`; never torch.
"""
