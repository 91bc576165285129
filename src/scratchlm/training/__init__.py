"""Training: one loop for all three trainings, its state and its losses.

Imports `model`, `stage`, `params` and `errors`; knows no data.
"""
