"""Downloads: a source that is known by size and hash, from the mirror, the cache or the network.

Imports `stage`, `files` and `errors`; knows nothing of models.
"""
