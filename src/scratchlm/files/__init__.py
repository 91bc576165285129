"""Files: atomic writes, checksums, clear errors for what cannot be read or stored, and the fixed folders.

Imports `errors` alone.
"""
