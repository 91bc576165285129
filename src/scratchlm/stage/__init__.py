"""What all stages share: start, stop and resume, device, environment, progress bars, metrics,
tables, pictures, and means with their uncertainty.

Imports `params`, `files` and `errors`; knows no model and no data.
"""
