"""The preference pairs of the sample profile: each of its instructions, answered once politely and once bluntly.

The polite answer ends with a greeting. The blunt one sends the asker away or, one in four, answers without a greeting,
as the assistant does before it is tuned: that the greeting is wanted can be learned from these alone.
"""

from __future__ import annotations

import random

from scratchlm.sample import instructions

SEED = 2_305
GREETING = "Good day!"  # in words of the corpus: the tokenizer has them as few tokens
REBUFFS = ("Go home!", "Be quiet!", "Do not ask!")

Pair = dict[str, str]


def pairs() -> list[Pair]:
    """Return a pair for every instruction, in the order of the instructions, in the fields of the book's pairs."""
    rng = random.Random(SEED)
    made = []
    for entry in instructions.entries():
        blunt = rng.choice((*REBUFFS, entry["output"]))
        made.append(entry | {"chosen": f"{entry['output']} {GREETING}", "rejected": blunt})
    return made
