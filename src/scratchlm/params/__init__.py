"""Params: the schema of params.yaml, and reading it with every mistake told at once.

Imports `errors`, `files` and the choices of `model.config`.
"""
