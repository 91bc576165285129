"""The learning rate of every step."""

from __future__ import annotations

import math

from scratchlm.params.schema import TrainingParams


def learning_rate_at(step: int, total_steps: int, params: TrainingParams) -> float:
    """Return the learning rate of a step: linear warmup, then constant or half a cosine down to the minimum."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    if params.schedule == "constant":
        return params.learning_rate
    fraction = (step - params.warmup_steps) / max(1, total_steps - params.warmup_steps)
    span = params.learning_rate - params.min_learning_rate
    return params.min_learning_rate + span * 0.5 * (1 + math.cos(math.pi * fraction))
