"""A training that is not finite any more stops, without asking the device after every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scratchlm.errors import InputError

LOOK_EVERY = 10  # steps; asking sooner makes a GPU wait for the CPU


class FiniteGuard:
    """Watches the loss and the gradient of every step, and the weights before they are kept.

    The device itself skips every update from the first bad step on, so the weights stay as they were before it. The
    CPU reads what happened every `LOOK_EVERY` steps, and whenever `check` is called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, name: str, last_good: Callable[[], object | None]) -> None:
        """Watch the steps of a fused `optimizer`; `name` is the stage's, `last_good` returns the last snapshot."""
        self.name, self.last_good = name, last_good
        device = optimizer.param_groups[0]["params"][0].device
        self.is_bad = torch.zeros((), device=device)
        # Fused optimizers read this on the device, and update nothing where it is 1: mixed precision relies on it.
        optimizer.found_inf = self.is_bad  # type: ignore[attr-defined]
        self.unread: list[tuple[int, float, Tensor]] = []  # step, learning rate, loss and gradient norm [2]

    def watch(self, step: int, learning_rate: float, loss: Tensor, norm: Tensor) -> None:
        """Note a step's loss and gradient norm, two scalars, before the optimizer's step."""
        pair = torch.stack([loss.detach(), norm])
        self.is_bad.logical_or_(~pair.isfinite().all())
        self.unread.append((step, learning_rate, pair))
        if len(self.unread) >= LOOK_EVERY:
            self.check()

    def check(self) -> None:
        """Raise InputError that names the first step whose loss or gradient was not finite."""
        if not self.unread:
            return
        pairs = torch.stack([pair for _, _, pair in self.unread]).tolist()
        for (step, learning_rate, _), (loss, norm) in zip(self.unread, pairs, strict=True):
            self.require("loss", loss, step, learning_rate)
            self.require("gradient", norm, step, learning_rate)
        self.unread.clear()

    def check_weights(self, weights: list[nn.Parameter], step: int, learning_rate: float) -> None:
        """Raise InputError unless all weights are finite: the last update has not met a batch yet."""
        self.check()
        norm = nn.utils.get_total_norm([weight.detach() for weight in weights])
        self.require("norm of the weights", norm.item(), step, learning_rate)

    def require(self, what: str, value: float, step: int, learning_rate: float) -> None:
        """Raise InputError unless a value is finite; say where a user can go on, and with what."""
        if math.isfinite(value):
            return
        latest = self.last_good()
        kept = f"the last good snapshot is {latest}" if latest else "there is no snapshot yet"
        raise InputError(
            f"the {what} is {value} at step {step} (learning rate {learning_rate:.2g}); stopped; {kept}. Rerunning "
            f"unchanged fails at the same step: lower {self.name}.learning_rate, or set {self.name}.warmup_steps and "
            f"{self.name}.gradient_clip, which starts it anew"
        )
