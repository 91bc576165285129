"""Probes of 26 entries and what a judge, given as a function, makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratchlm.judging.probes import ProbeItem, probe_items

ENTRIES = [
    {
        "id": index,
        "instruction": f"What is the capital of land {index}?",
        "input": f"map {index}",
        "output": f"{chr(65 + index)}town has been its seat of government since {1500 + index}.",
    }
    for index in range(26)
]
Judge = Callable[[ProbeItem], float | None]


def probe_rows(judge: Judge, n: int = 20) -> list[dict[str, Any]]:
    """The rows of the probes of `n` entries."""
    return [
        {"id": item.entry["id"], "variant": item.kind, "status": "ok", "score": judge(item)}
        for item in probe_items(ENTRIES, n, 1)
    ]


def by_kind(**scores: float | None) -> Judge:
    """A judge with one score for each kind of probe."""
    return lambda item: scores[item.kind]
