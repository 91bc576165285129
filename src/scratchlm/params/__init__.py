"""Params: the schema of params.yaml, and reading it, with all mistakes reported at once.

Imports `errors`, `files` and the choices of `model.config`.
"""
