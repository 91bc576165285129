"""From a model's logits to its next token: the likeliest one, and the distribution to draw it from (chapter 5.3).

Shape suffixes as in gpt.py: B batch, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def likeliest(logits_BV: Tensor) -> Tensor:
    """Return the likeliest token of every row, [B] int64."""
    return logits_BV.float().argmax(dim=-1)  # on the CPU, argmax of bfloat16 takes six times as long


def probabilities(logits_BV: Tensor, temperature: float, top_k: int | None = None) -> Tensor:
    """Return the distribution from which the next token of every row is drawn, [B, V] float32 (chapter 5.3).

    At temperature 0 the likeliest token has all. With `top_k`, only so many likeliest tokens can be drawn.
    """
    logits_BV = logits_BV.float()
    if temperature == 0:
        return one_hot(likeliest(logits_BV), logits_BV.shape[-1]).float()
    if top_k is not None and top_k < logits_BV.shape[-1]:
        smallest_B1 = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_B1, -torch.inf)
    return torch.softmax(logits_BV / temperature, dim=-1)


def probabilities_by_row(logits_BV: Tensor, temperatures: Sequence[float], top_ks: Sequence[int | None]) -> Tensor:
    """Return what `probabilities` gives for every row, with a temperature above 0 and a top_k of its own: [B, V]."""
    logits_BV = logits_BV.float()
    V = logits_BV.shape[-1]
    limits = [V if top_k is None else min(top_k, V) for top_k in top_ks]
    if min(limits) < V:
        limits_B1 = torch.tensor(limits, device=logits_BV.device)[:, None]
        largest_BN = logits_BV.topk(max(limit for limit in limits if limit < V)).values
        smallest_B1 = largest_BN.gather(1, limits_B1.clamp(max=largest_BN.shape[1]) - 1)
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_B1.where(limits_B1 < V, -torch.inf), -torch.inf)
    return torch.softmax(logits_BV / torch.tensor(temperatures, device=logits_BV.device)[:, None], dim=-1)


def draw(probabilities_BV: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw the next token of every row with a generator of its own, [B] int64.

    It draws what `torch.multinomial` draws for each row alone, which divides by exponential noise too, but after the
    noise all rows are one.
    """
    noise_BV = torch.empty_like(probabilities_BV)
    for noise_V, generator in zip(noise_BV, generators, strict=True):
        noise_V.exponential_(generator=generator)
    return (probabilities_BV / noise_BV).argmax(dim=-1)
