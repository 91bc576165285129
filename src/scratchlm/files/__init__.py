"""Files: written whole or not at all, checked, read with clear errors; the folders that do not move.

Imports `errors` alone.
"""
