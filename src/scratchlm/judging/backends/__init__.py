"""Backends: the servers behind a judge that is a language model."""
