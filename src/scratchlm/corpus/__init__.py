"""The corpus: collecting its texts, and reading them document by document (chapter 2.2).

Imports `download`, `sample`, `stage`, `files` and `errors`.
"""
