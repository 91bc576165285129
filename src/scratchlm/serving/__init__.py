"""Serving: the trained models behind OpenAI's HTTP interface, and a page to use them, on 127.0.0.1.

Imports everything below but `experiments`.
"""
