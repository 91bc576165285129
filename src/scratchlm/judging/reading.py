"""A reading: what a parser made of a judge's words."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["ok", "empty", "parse_error", "out_of_range", "truncated", "http_error"]


class Reading(NamedTuple):
    """A score from 0 to 100 with status "ok"; without a score, `reason` says why in one line."""

    status: Status
    score: float | None
    reason: str
