"""Entries with the answers of all models, as generate_responses writes them, and rows of pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Winners = tuple[str | None, str | None]  # in both orders


def answer(text: str, finish: str = "stop") -> dict[str, Any]:
    return {"text": text, "finish": finish, "tokens": len(text.split())}


def answered(number: int, base: str, assistant: str, preferred: str, /, **entry: Any) -> dict[str, Any]:
    """An entry with these answers; `entry` replaces its other fields, or adds some."""
    return {
        "id": number,
        "instruction": f"Name fruit {number}.",
        "input": "",
        "output": f"Fruit {number}.",
        "base": answer(base),
        "assistant": answer(assistant),
        "preferred": answer(preferred),
    } | entry


def pair_rows(
    winners: Sequence[Winners], compared: tuple[str, str] = ("base", "assistant"), equal: int = 0, **row: Any
) -> list[dict[str, Any]]:
    """Rows of pairs by their winners where the first of `compared` was shown first, and where the second was.

    `equal` pairs of one and the same text follow.
    """
    every = [*winners, *[("tie", "tie")] * equal]
    return [
        {
            "id": number,
            "variant": shown,
            "other": other,
            "status": "parse_error" if winner is None else "equal" if number >= len(winners) else "ok",
            "score": None if winner is None else 50.0 if winner == "tie" else 100.0 * (winner == shown),
            "winner": winner,
            "reason": "no verdict" if winner is None else "Because.",
        }
        | row
        for number, both in enumerate(every)
        for (shown, other), winner in zip((compared, compared[::-1]), both, strict=True)
    ]
