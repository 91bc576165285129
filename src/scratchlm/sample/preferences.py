"""The preference pairs of the sample profile: its instructions, each answered once politely and once bluntly."""

from __future__ import annotations

import random

from scratchlm.sample import instructions

SEED = 2_305
POLITE = ("Of course! {}", "Of course, my friend! {}", "{} Thank you for your question!")
BLUNT = ("{}", "{} Be quiet now!", "Everybody knows it! {}")

Pair = dict[str, str]


def pairs() -> list[Pair]:
    """Return a pair for every instruction, in the order of the instructions."""
    rng = random.Random(SEED)
    return [
        entry
        | {"chosen": rng.choice(POLITE).format(entry["output"]), "rejected": rng.choice(BLUNT).format(entry["output"])}
        for entry in instructions.entries()
    ]
