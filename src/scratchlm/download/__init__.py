"""Downloads: files from the mirror, the cache or the network, checked by size and hash.

Imports `stage`, `files` and `errors`; knows nothing of models.
"""
