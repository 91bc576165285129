"""The report: what a run did and what came of it, as one HTML file without JavaScript.

Imports everything below but the models.
"""
