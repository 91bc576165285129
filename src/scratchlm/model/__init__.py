"""The GPT of chapters 3 and 4: configuration, attention, blocks, cache and random start.

Imports `errors` alone; never a stage.
"""
