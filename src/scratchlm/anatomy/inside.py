"""What a trained GPT does inside: where it looks, what it expects next, how far its gradients reach.

Shape suffixes as in model.py: B batch, T tokens, D emb_dim, H n_heads, V vocab_size; L blocks, N temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from scratchlm.anatomy.formulas import gradient_means
from scratchlm.errors import InputError
from scratchlm.model.attention import MultiHeadAttention, attention_weights
from scratchlm.model.gpt import GPT, Block
from scratchlm.training.loss import next_token_loss

LEARNING_RATE = 1e-3  # of the few steps after which gradients are looked at
SMALLEST = torch.finfo(torch.float32).tiny  # stands for a gradient that float32 rounded to 0


@torch.no_grad()
def attention_maps(model: GPT, ids: Sequence[int]) -> Tensor:
    """Return how much each token looks at each, in every head of every block, [L, H, T, T] (chapters 3.5 and 3.6).

    Row t holds the weights with which token t gathers; it sums to 1 and is 0 right of t. The weights are those
    that the blocks compute with on their way to the logits, whatever `model.attention` computes them.
    Raises InputError if the text has no token, or more than the model can see.
    """
    maps_HTT = []

    def keep(attention: nn.Module, inputs: tuple[Any, ...]) -> None:
        q, k, _ = cast(MultiHeadAttention, attention).queries_keys_values(inputs[0])
        maps_HTT.append(attention_weights(q, k)[0])

    ids_1T = _one_row(model, ids)
    hooks = [block.attn.register_forward_pre_hook(keep) for block in cast(Iterable[Block], model.h)]
    try:
        model.features(ids_1T)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps_HTT)


@torch.no_grad()
def next_token_probabilities(model: GPT, ids: Sequence[int], temperatures: Sequence[float]) -> Tensor:
    """Return the probabilities of the token after `ids` under each temperature, [N, V] (chapter 5.3.1).

    Raises InputError if the text has no token, or more than the model can see.
    """
    logits_V = model.head(model.features(_one_row(model, ids))[0, -1]).float()
    return torch.softmax(logits_V / torch.tensor(temperatures, device=model.device)[:, None], dim=-1)


def entropy(probabilities_V: Tensor) -> float:
    """Return the entropy of a distribution in nats; 0 where one token is certain, log(V) where all are alike."""
    return float(torch.special.entr(probabilities_V.double()).sum())


def block_gradients(model: GPT, inputs_BT: Tensor, targets_BT: Tensor, after_steps: int = 0) -> list[float]:
    """Return the mean absolute gradient of each block's weight matrices on a batch, first block first (chapter 4.4).

    Before that, `model` is trained on the batch for `after_steps` steps. Inputs and targets are [B, T] int64.

    A new GPT without shortcuts does not show vanishing gradients: its layer norms undo what each block shrinks (with
    the norms taken out as well, they vanish at once). After ten steps they have vanished, by 1.5 powers of ten over
    4 blocks of width 128, by 12 over the 12 blocks of the 124M shape.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    loss = next_token_loss(model)
    for step in range(after_steps + 1):
        optimizer.zero_grad()
        loss_sum, n_targets = loss(inputs_BT, targets_BT)
        (loss_sum / n_targets).backward()  # type: ignore[no-untyped-call]
        if step < after_steps:
            optimizer.step()
    means = gradient_means(cast(Iterable[nn.Module], model.h))
    optimizer.zero_grad()
    return means


def decades(gradients: Sequence[float]) -> float:
    """Return by how many powers of ten the first block's gradient is above the last's; vanishing is far below 0."""
    first, last = (max(gradient, SMALLEST) for gradient in (gradients[0], gradients[-1]))
    return math.log10(first / last)


def _one_row(model: GPT, ids: Sequence[int]) -> Tensor:
    context = model.config.context_length
    if not 0 < len(ids) <= context:
        raise InputError(
            f"the text has {len(ids)} tokens, this model takes 1 to {context}: give a "
            f"{'shorter' if ids else 'longer'} text (visualize.text in params.yaml)"
        )
    return torch.tensor([list(ids)], device=model.device)
