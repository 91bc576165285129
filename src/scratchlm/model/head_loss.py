"""The cross entropy of many targets, without the logits of all of them in memory at a time.

The logits of a batch are the largest tensor of a training: of 32 texts of 1,024 tokens and GPT-2's 50,257 words they
take 6.6 GB in float32, and their gradient takes as much. Here a part of them is computed at a time. For the sum of all
losses, what the backward pass needs of a part, the gradients of hidden states and weight, is computed with it: nothing
is computed twice. Where each loss may weigh differently, the backward pass computes the logits again.

torch's own `linear_cross_entropy` (2.13) works in parts too, but not inside a compiled graph, and it multiplies by a
weight of 50,257 rows: see `ALIGNED`.

Shape suffixes: N targets, n those of one part, D emb_dim, V vocab_size, P the same rounded up to a multiple of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scratchlm.model.linear import linear

Reduction = Literal["sum", "none"]  # of the losses, as torch names it

# Logits computed together: 1 GiB in float32, with GPT-2's words those of 4,096 tokens. Fewer keep a large GPU waiting.
LOGITS_AT_ONCE = 1 << 28
# The weight's rows are filled up to a multiple of this on a GPU, whose matrix units want rows of whole 16 bytes: 50,257
# logits in bfloat16 are not.
ALIGNED = 64


def is_in_parts(x_ND: Tensor, weight_VD: Tensor) -> bool:
    """True if a loss is computed in parts: on a GPU always, elsewhere of more logits than are computed together."""
    return x_ND.device.type == "cuda" or len(x_ND) > rows_at_once(len(weight_VD))


def rows_at_once(vocab_size: int) -> int:
    """Return of how many tokens the logits are computed together: a power of 2, as a GPU's matrix units like it."""
    return 1 << (max(LOGITS_AT_ONCE // vocab_size, 1).bit_length() - 1)


def loss_in_parts(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, of_part: OfPart) -> Tensor:
    """Return the summed cross entropy of targets, int64, whose logits are x @ weight.T: a scalar, float32 or wider.

    `of_part` is `loss_of_part`, or a compiled one. Under autocast the logits are computed in its type, and all that
    follows in float32. The gradient has no gradient.
    """
    device_type = x_ND.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x_ND.dtype
    inputs = x_ND, weight_VD, targets_N, of_part, dtype, torch.is_grad_enabled()
    return cast(Tensor, _InParts.apply(*inputs))  # type: ignore[no-untyped-call]


def losses_in_parts(x_ND: Tensor, targets_N: Tensor, head: Callable[[Tensor], Tensor], vocab_size: int) -> Tensor:
    """Return the cross entropy of each target, int64, whose logits are head(x): [N], float32 or wider."""

    n_rows, device_type = rows_at_once(vocab_size), x_ND.device.type
    if len(x_ND) <= n_rows:
        return cross_entropy(head(x_ND), targets_N, "none")

    def of_part(x_nD: Tensor, targets_n: Tensor) -> Tensor:
        # Autocast's copy of the weight for all parts would add up their gradients in bfloat16: each has its own copy.
        with torch.autocast(device_type, enabled=torch.is_autocast_enabled(device_type), cache_enabled=False):
            return cross_entropy(head(x_nD), targets_n, "none")

    parts = zip(torch.split(x_ND, n_rows), torch.split(targets_N, n_rows), strict=True)
    # A head draws no random numbers. To ask a GPU for the state of its generator would wait for it.
    return torch.cat([checkpoint(of_part, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, reduction: Reduction) -> Tensor:
    """Return the cross entropy of targets, int64, float32 or wider: a scalar, or that of each, [N]."""
    dtype = torch.promote_types(logits_NV.dtype, torch.float32)
    return F.cross_entropy(logits_NV.to(dtype), targets_N, reduction=reduction)


class PartLoss(NamedTuple):
    """The summed loss of a part, a scalar, and its gradients with respect to hidden states and weight, if wanted."""

    loss: Tensor
    x_nD: Tensor | None
    weight_PD: Tensor | None


def loss_of_part(
    x_nD: Tensor, weight_PD: Tensor, targets_n: Tensor, n_words: int, wants_x: bool, wants_weight: bool
) -> PartLoss:
    """Compute the loss of n targets, int64, and its gradients; hidden states and weight are of one type.

    The loss is float32 or wider, the gradients have the type of their tensors. Only `n_words` rows of the weight are
    words, the others fill it up.
    """
    targets_n1 = targets_n[:, None]
    logits_nP = linear(x_nD, weight_PD)
    logits_nP[:, n_words:] = -torch.inf
    log_probs_nP = F.log_softmax(logits_nP, dim=-1, dtype=torch.promote_types(x_nD.dtype, torch.float32))
    chosen_n1 = log_probs_nP.gather(1, targets_n1)
    x_gradient = weight_gradient = None
    if wants_x or wants_weight:
        # The gradient of the logits: the probabilities, less 1 at the target.
        gradient_nP = log_probs_nP.exp().to(x_nD.dtype).scatter_(1, targets_n1, (chosen_n1.exp() - 1).to(x_nD.dtype))
        x_gradient = linear(gradient_nP, weight_PD.T) if wants_x else None
        weight_gradient = linear(gradient_nP.T, x_nD.T) if wants_weight else None
    return PartLoss(-chosen_n1.sum(), x_gradient, weight_gradient)


OfPart = Callable[[Tensor, Tensor, Tensor, int, bool, bool], PartLoss]


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        of_part: OfPart,
        dtype: torch.dtype,
        has_gradients: bool,
    ) -> Tensor:
        V, n_rows = len(weight_VD), rows_at_once(len(weight_VD))
        n_filled = -V % ALIGNED if x_ND.device.type == "cuda" else 0
        weight_PD = F.pad(weight_VD.to(dtype), (0, 0, 0, n_filled))
        wants = tuple(has_gradients and wanted for wanted in ctx.needs_input_grad[:2])
        losses, x_gradients, weight_gradient = [], [], None
        # Without a target: one part of none. Not with `range`, for which torch would compile every N apart.
        for x_nD, targets_n in zip(torch.split(x_ND, n_rows), torch.split(targets_N, n_rows), strict=True):
            part = of_part(x_nD.to(dtype), weight_PD, targets_n, V, *wants)
            losses.append(part.loss)
            if part.x_nD is not None:
                x_gradients.append(part.x_nD)
            if part.weight_PD is not None:
                # A sum of many parts in bfloat16 would lose the small ones.
                exact = part.weight_PD[:V].to(weight_VD.dtype)
                weight_gradient = exact if weight_gradient is None else weight_gradient.add_(part.weight_PD[:V])
        ctx.save_for_backward(torch.cat(x_gradients).to(x_ND.dtype) if x_gradients else None, weight_gradient)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return (
            gradient * x_gradient if x_gradient is not None else None,
            gradient * weight_gradient if weight_gradient is not None else None,
            None,
            None,
            None,
            None,
        )
