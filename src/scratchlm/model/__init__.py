"""The GPT of chapters 3 and 4, and a Llama: configurations, parts, KV cache, initial weights, next token, likelihood.

Imports only `errors`. The readable forms that its fast ones are held equal to are in `anatomy`.
"""
