"""Scoring answers against their references: judges, their verdicts, and what the verdicts say together."""
