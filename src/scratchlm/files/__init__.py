"""Files: atomic writes, checksums, a shared database, clear errors for what cannot be read or stored, fixed folders.

Imports `errors` alone.
"""
