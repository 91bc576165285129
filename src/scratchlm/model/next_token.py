"""From a model's logits to its next token: the likeliest one, and the distribution to draw it from (chapter 5.3).

Shape suffixes as in gpt.py: B batch, V vocab_size.
"""

from __future__ import annotations

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
