"""How fast a training is: tokens per second, and the share of the device's arithmetic that it uses (MFU).

Model FLOPs utilization is what a step has to compute, over what the device could compute in that time (Chowdhery et
al. 2022, PaLM, arXiv 2204.02311, appendix B). What is computed twice or for nothing does not count.
"""

from __future__ import annotations

import re
import time
from functools import cache, partial

import torch
from torch import nn

from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.stage.processes import n_processes
from scratchlm.training.loss import Batch

# The first steps of a process load kernels, fill the allocator, and are compiled: they say nothing about the others.
WARMUP_STEPS = 3

# Dense products in bfloat16 with sums in float32, FLOP/s, of the devices whose name has this pattern; the first one
# counts. From NVIDIA's datasheets (H100, H200, A100, L40S, L4; HGX B200: an eighth of it), whose figures with sparsity
# are halved here, and from its architecture whitepapers (RTX Blackwell, Ada, and Ampere GA102: RTX 5090, 4090, 3090).
PEAK_FLOPS = {
    r"\bH100 PCIe": 756e12,
    r"\bH[12]00 NVL": 835e12,
    r"\bH[12]00\b": 989e12,
    r"\bB200\b": 2250e12,
    r"\bA100\b": 312e12,
    r"\bL40S\b": 362e12,
    r"\bL4\b": 121e12,
    r"\bRTX 5090$": 209.5e12,
    r"\bRTX 4090$": 165.2e12,
    r"\bRTX 3090$": 71e12,
}


class Throughput:
    """The speed of the steps of this process, without the first ones and without what happens between steps."""

    def __init__(self, model: nn.Module) -> None:
        self.device = next(model.parameters()).device
        self.flops_per_token = cache(partial(flops_per_token, model))  # of a length
        self.is_warm, self.started_at = False, 0.0  # seconds; 0 while the clock stands
        self.seconds, self.steps, self.tokens, self.flops = 0.0, 0, 0, 0.0

    def start(self) -> None:
        """A step begins: the clock runs, if it does not already, and from 0 after the first steps."""
        if not self.is_warm and self.steps == WARMUP_STEPS:
            self.pause()
            self.is_warm = True
            self.seconds, self.steps, self.tokens, self.flops = 0.0, 0, 0, 0.0
        self.started_at = self.started_at or time.perf_counter()

    def count(self, batch: Batch) -> None:
        """Count a step on a whole batch, which the GPU may still be computing."""
        inputs = batch[0]
        self.steps += 1
        self.tokens += inputs.numel()
        self.flops += inputs.numel() * (self.flops_per_token(inputs.shape[-1]) or 0)

    def pause(self) -> None:
        """Something else than a step begins: wait for the device, and stop the clock."""
        if self.started_at:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds += time.perf_counter() - self.started_at
            self.started_at = 0.0

    @property
    def tokens_per_s(self) -> float:
        """The tokens of all processes' batches per second, padding included."""
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def step_s(self) -> float:
        """The mean seconds of a step."""
        return self.seconds / max(self.steps, 1)

    @property
    def utilization(self) -> float | None:
        """The MFU of all processes' devices, from 0 to 1; None if the model's work or the device's peak is unknown."""
        peak = peak_flops(device_name(self.device))
        return self.flops / self.seconds / (peak * n_processes()) if peak and self.flops else None

    def __str__(self) -> str:
        utilization = self.utilization
        mfu = "unknown" if utilization is None else f"{utilization:.1%}"
        return f"{self.tokens_per_s:,.0f} tok/s  MFU {mfu}"


def flops_per_token(model: nn.Module, length: int) -> float | None:
    """Return the floating-point operations that a training step needs for each token of texts of this length.

    6 N + 12 L H Q T, of N weights in matrix products, L blocks, H heads of size Q, and T tokens: every weight takes a
    product and a sum forward and twice as many backward, and so do queries with keys and weights with values (PaLM,
    appendix B). An embedding that is only looked up is none of the N. Returns None of a model of which a part is
    frozen, or that is no language model: its backward pass computes less.
    """
    if not isinstance(model, LanguageModel) or not all(weight.requires_grad for weight in model.parameters()):
        return None
    looked_up = sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding))
    if model.config.tie_embeddings:
        looked_up -= model.wte.weight.numel()
    config = model.config
    n_weights = n_parameters(model) - looked_up
    return 6 * n_weights + 12 * config.n_layers * config.emb_dim * length


def peak_flops(name: str) -> float | None:
    """Return what a device of this name computes in a second, in bfloat16; None if it is not in the table."""
    return next((peak for pattern, peak in PEAK_FLOPS.items() if re.search(pattern, name)), None)


def device_name(device: torch.device) -> str:
    """Return the name of a device as its driver has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
