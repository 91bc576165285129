"""The GPT of chapters 3 and 4: configuration, attention, blocks, KV cache, initial weights, next token and likelihood.

Imports only `errors`. The readable forms that its fast ones are held equal to are in `anatomy`.
"""
