"""Training (chapter 5): the one loop of all trainings, its state, and the next-token loss.

Imports `stage`, `params`, `model` and `errors`. Takes any model and any batches.
"""
