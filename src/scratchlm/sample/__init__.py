"""The embedded data: generators of a corpus, messages and instructions, the same for the same seed.

Imports nothing of the rest.
"""
