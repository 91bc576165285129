"""How fast a training is: tokens per second, and the share of the device's arithmetic that it uses (MFU).

Model FLOPs utilization is what a step has to compute, over what the device could compute in that time (Chowdhery et
al. 2022, PaLM, arXiv 2204.02311, appendix B). What is computed twice or for nothing does not count: of padding nothing,
of a position without a target not the head, and a start that all texts share only once.

Shape suffixes: P texts, T tokens.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import torch
from torch import nn

from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.stage.processes import n_processes
from scratchlm.training.loss import IGNORED, Batch, shared_start

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
        self.work = work_of(model)
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
        self.steps += 1
        self.tokens += batch[0].numel()
        if self.work is not None:
            self.flops += self.work.flops(batch)

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


class Work(NamedTuple):
    """The floating-point operations of a training step: of the blocks for every token, of the head for every target.

    6 N for the N weights in matrix products, each of which takes a product and a sum forward and twice as many
    backward, and 12 L H Q T for the attention of L blocks, H heads of size Q, and T tokens: queries with keys and
    weights with values take as many (PaLM, appendix B). An embedding that is only looked up is none of the N.
    """

    per_token: int
    per_token_and_length: int
    per_target: int

    def flops(self, batch: Batch) -> int:
        """Return the operations that a step on a whole batch needs; its first two tensors are inputs and targets."""
        inputs_PT, targets_PT = (tensor.flatten(0, -2) for tensor in batch[:2])
        is_target_PT = targets_PT != IGNORED
        # A text ends at its last target: what follows changes nothing.
        length_P = (is_target_PT * torch.arange(1, inputs_PT.shape[1] + 1)).amax(1)
        computed_P = length_P.clone()
        computed_P[1:] -= shared_start(inputs_PT, targets_PT)
        n_tokens, n_pairs = int(computed_P.sum()), int((computed_P * length_P).sum())
        n_targets = int(is_target_PT.sum())
        return self.per_token * n_tokens + self.per_token_and_length * n_pairs + self.per_target * n_targets


def work_of(model: nn.Module) -> Work | None:
    """Return what a training step of a model has to compute; None if a part is frozen, or if it is no language model.

    The backward pass of such models computes less.
    """
    if not isinstance(model, LanguageModel) or not all(weight.requires_grad for weight in model.parameters()):
        return None
    config = model.config
    looked_up = sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding))
    n_head = model.wte.weight.numel()
    n_blocks = n_parameters(model) - looked_up - (0 if config.tie_embeddings else n_head)
    return Work(6 * n_blocks, 12 * config.n_layers * config.emb_dim, 6 * n_head)


def peak_flops(name: str) -> float | None:
    """Return what a device of this name computes in a second, in bfloat16; None if it is not in the table."""
    return next((peak for pattern, peak in PEAK_FLOPS.items() if re.search(pattern, name)), None)


def device_name(device: torch.device) -> str:
    """Return the name of a device as its driver has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
