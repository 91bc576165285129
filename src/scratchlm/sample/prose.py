"""A small notation for prose that varies: "<It rained|It snowed> on {day}." """

from __future__ import annotations

import random
import re

_CHOICE = re.compile(r"<([^<>]*)>")


def vary(rng: random.Random, text: str, slots: dict[str, str]) -> str:
    """Return `text` with one alternative of each <this|that> chosen and each {slot} filled."""
    chosen = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
    return re.sub(" +", " ", chosen.format(**slots)).strip()
