"""What all stages share: start, stop and resume, the device, progress bars, metrics and tables.

Imports `params`, `files` and `errors`; knows no model and no data.
"""
