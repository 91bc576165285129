"""Stops a training whose values are no longer finite, without a wait for the device after every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scratchlm.errors import InputError
from scratchlm.training.parallel import total_norm

LOOK_EVERY = 10  # steps; reading more often makes the GPU wait for the CPU


class FiniteGuard:
    """Watches the loss and the gradient of every step, and the weights before a snapshot.

    From the first bad step on, the device skips every update, so the weights stay as they were before that step. The
    CPU reads the values every `LOOK_EVERY` steps, and whenever `check` is called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, name: str, last_good: Callable[[], object | None]) -> None:
        """Watch the steps of a fused `optimizer`; `name` is the stage, `last_good` returns the latest snapshot."""
        self.name, self.last_good = name, last_good
        device = optimizer.param_groups[0]["params"][0].device
        self.is_bad = torch.zeros((), device=device)
        # Fused optimizers read this on the device and skip the update if it is 1, as mixed precision needs it.
        optimizer.found_inf = self.is_bad  # type: ignore[attr-defined]
        self.unread: list[tuple[int, float, Tensor]] = []  # step, learning rate, loss and gradient norm [2]

    def watch(self, step: int, learning_rate: float, loss: Tensor, norm: Tensor) -> None:
        """Record the loss and the gradient norm of a step, two scalars, before the optimizer's step."""
        pair = torch.stack([loss.detach(), norm])
        self.is_bad.logical_or_(~pair.isfinite().all())
        self.unread.append((step, learning_rate, pair))
        if len(self.unread) >= LOOK_EVERY:
            self.check()

    def check(self) -> None:
        """Raise InputError if a loss or gradient was not finite; it names the first such step."""
        if not self.unread:
            return
        pairs = torch.stack([pair for _, _, pair in self.unread]).tolist()
        for (step, learning_rate, _), (loss, norm) in zip(self.unread, pairs, strict=True):
            self.require("loss", loss, step, learning_rate)
            self.require("gradient", norm, step, learning_rate)
        self.unread.clear()

    def check_weights(self, weights: list[nn.Parameter], step: int, learning_rate: float) -> None:
        """Raise InputError unless all weights are finite. No loss has been computed since the last update."""
        self.check()
        norm = total_norm([weight.detach() for weight in weights])
        self.require("norm of the weights", norm.item(), step, learning_rate)

    def require(self, what: str, value: float, step: int, learning_rate: float) -> None:
        """Raise InputError unless a value is finite; the message names the latest snapshot and what to change."""
        if math.isfinite(value):
            return
        latest = self.last_good()
        kept = f"the last good snapshot is {latest}" if latest else "there is no snapshot yet"
        raise InputError(
            f"the {what} is {value} at step {step} (learning rate {learning_rate:.2g}); stopped; {kept}. Rerunning "
            f"unchanged fails at the same step: lower {self.name}.learning_rate, or set {self.name}.warmup_steps and "
            f"{self.name}.gradient_clip, which starts the training again"
        )
