"""What every stage shares: how it starts, stops and goes on; device, environment, progress, metrics and tables.

Imports `params`, `files` and `errors`; knows no model and no data.
"""
