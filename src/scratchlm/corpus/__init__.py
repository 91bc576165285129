"""The corpus: collecting texts, and reading them document by document.

Imports `download`, `sample`, `files` and `errors`.
"""
