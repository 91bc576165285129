"""Experiments: named sets of them, which ran, what came out, and the table and the plot of that.

Imports everything below but the models, which nobody needs for a table.
"""
