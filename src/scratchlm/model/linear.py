"""Linear layers that use the faster of torch's two matrix products on the CPU.

In float32 torch calls MKL, which does not use the AVX-512 units of AMD's processors. oneDNN, also part of torch,
does. Measured on a Zen 5 with 2 threads, 124M parameters, 512 tokens: a training step takes 1.6 s
instead of 2.9 s. Everywhere else, for products too small to matter, under autocast and for torch's
compiler, this is `torch.nn.functional.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL_PRODUCT = 1 << 20  # multiplications; below that, oneDNN's 10 microseconds per call cost more than it saves


class Linear(nn.Linear):
    """`nn.Linear`, [..., in_features] to [..., out_features], through `linear`, plus what LoRA adds.

    It may stand for `n_parts` layers with the same input, whose outputs are side by side.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, n_parts: int = 1) -> None:
        super().__init__(in_features, out_features, bias)
        self.n_parts = n_parts
        self.lora: nn.Module | None = None  # see lora.py

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x, self.weight, self.bias)
        return y if self.lora is None else y + self.lora(x)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias: [..., in] and [out, in] to [..., out]."""
    if not _is_for_onednn(x, weight):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _product(x, weight, bias)
    return cast(Tensor, _OneDnnLinear.apply(x, weight, bias))  # type: ignore[no-untyped-call]


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() * weight.shape[0] >= SMALL_PRODUCT
        and not torch.is_autocast_enabled("cpu")  # which casts what torch's own functions get, and only that
        and not torch.compiler.is_compiling()  # which chooses the product itself, in a graph without a gap
        and onednn_is_faster()
    )


@cache
def onednn_is_faster() -> bool:
    """True on an AMD processor with AVX-512, if torch can call oneDNN."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AMD" in torch.cpu.get_capabilities().get("cpu_name", "")
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # The operator that torch's compiler replaces linear layers with; it takes any strides.
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))


class _OneDnnLinear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)  # [N, out]
        # `linear`, which has a gradient itself: a gradient of this gradient is right too.
        return (
            linear(gradient, weight.T) if wants_x else None,
            linear(rows.T, x.flatten(0, -2).T) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )
