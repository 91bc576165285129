"""The sample data: generators of a corpus, messages and instructions; the same seed gives the same data.

Imports nothing of the rest.
"""
