"""Anatomy: what happens inside a GPT, as formulas, shapes, maps and figures.

Imports `training`, `model`, `files` and `errors`.
"""
