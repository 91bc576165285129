"""The loss of a language model: cross entropy of the next token (chapter 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import torch
from torch import Tensor, nn

from scratchlm.model.kv_cache import n_alike

IGNORED = -100  # a target that does not count; torch's default

FEWEST_SHARED = 8  # tokens with which all texts begin: fewer are not worth a call of every layer
LARGEST_EXPONENT = 700  # exp(710) overflows

# Inputs and targets, and for pairs of answers what the reference finds; row i of all is one example.
Batch = tuple[Tensor, ...]
# The sum of the losses of a batch's targets, a scalar tensor; `count_targets` says how many there are. The batch is as
# the loader made it, on the CPU; the loss moves to the model's device what it needs there, with `on_device`.
Loss = Callable[[nn.Module, Batch], Tensor]
# The same sum under "loss", and further sums over the targets that a curve shows, each under its name.
Measure = Callable[[nn.Module, Batch], dict[str, Tensor]]


def count_targets(batch: Batch) -> Tensor:
    """Return how many losses the sum of a batch's loss has, as a scalar tensor, int64.

    Of token ids and labels all but -100 count. A batch that ends with real numbers has pairs of answers, of which each
    row is one.
    """
    last = batch[-1]
    if last.is_floating_point():
        return torch.tensor(len(last))
    return (last != IGNORED).sum()


def next_token_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the summed cross entropy of the targets that count, a scalar tensor, float32.

    Inputs and targets are [B, T] int64; a target of -100 does not count. Only the N positions whose targets count get
    logits: with masked prompts that is a fifth of them.
    """
    inputs_BT, targets_BT = batch
    n_shared = shared_start(inputs_BT, targets_BT)  # on the CPU, as the next line, to wait for no GPU
    counted_N = (targets_BT.flatten() != IGNORED).nonzero().squeeze(1)
    inputs_BT, targets_N, counted_N = on_device((inputs_BT, targets_BT.flatten()[counted_N], counted_N), model)
    return model(inputs_BT, counted_N, n_shared, targets_N)  # type: ignore[no-any-return]


def shared_start(inputs_BT: Tensor, targets_BT: Tensor) -> int:
    """Return with how many tokens all texts of a batch begin that no target counts for; 0 if they are few.

    Of masked instructions in the Alpaca style these are the words before the instruction, two fifths of all tokens.
    """
    n_ignored = int((targets_BT == IGNORED).long().cumprod(1).sum(1).min())
    n_shared = min(n_alike(inputs_BT), n_ignored)
    return n_shared if len(inputs_BT) > 1 and FEWEST_SHARED <= n_shared < inputs_BT.shape[1] else 0


def on_device(tensors: tuple[Tensor, ...], model: nn.Module) -> tuple[Tensor, ...]:
    """Move tensors from the CPU to the model's device."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return tuple(tensor.to(device) for tensor in tensors)
    # From pinned memory the GPU copies by itself, while it computes the last step and the CPU prepares this one. The
    # copy of a view with gaps, as inputs and targets of windows are, would go through memory that is not pinned.
    return tuple(tensor.contiguous().pin_memory().to(device, non_blocking=True) for tensor in tensors)


def perplexity(loss: float) -> float:
    """Return exp(loss): the number of equally likely tokens that would give this loss (chapter 5.1.2)."""
    return exp(min(loss, LARGEST_EXPONENT))
