"""Files: atomic writes, checksums, a database that processes share, clear errors for what cannot be read or stored.

Imports `errors` alone.
"""
