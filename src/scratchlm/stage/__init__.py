"""What all stages share: start, stop and resume, device, environment, progress bars, metrics and tables.

Imports `params`, `files` and `errors`; knows no model and no data.
"""
