"""One model that several processes train together, each with its share of every batch.

By default each process has the whole model (DDP). With SCRATCHLM_SHARD=1 it has a share of the weights, the gradients
and the optimizer's state (FSDP2), and borrows the weights of one block at a time. Both give the gradients of one
process, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scratchlm.errors import InputError
from scratchlm.stage.processes import gathered, is_first, n_processes, rank
from scratchlm.training.shares import MICRO_BATCH, micro_batch

SHARD = "SCRATCHLM_SHARD"  # 0 or 1


def is_sharded() -> bool:
    """True if each of several processes keeps a share of the model, as SCRATCHLM_SHARD says.

    Raises InputError if that is neither 0 nor 1.
    """
    asked = os.environ.get(SHARD) or "0"
    if asked not in ("0", "1"):
        raise InputError(
            f"{SHARD} is {asked!r}, wanted 0 (each process has the whole model, DDP) or 1 (each has a share, FSDP2)"
        )
    return asked == "1" and n_processes() > 1


@dataclass(frozen=True)
class Replica:
    """A model as one of the processes trains it, in three forms with the same names of parameters.

    `given` is the model as it came. `trained` has the parameters that the optimizer changes: it is the given model
    itself or, sharded, a copy of it with this process's shares; then `given` waits on the CPU. `called` computes: what
    a backward pass through it finds are the gradients of all processes together, the mean over them.
    """

    given: nn.Module
    trained: nn.Module
    called: nn.Module
    device: torch.device

    def adding_up(self, is_last: bool) -> AbstractContextManager[None]:
        """Return a context for one part of a step, forward and backward; the last part adds up all gradients.

        Sharded, every part does: a process has no room for all gradients.
        """
        if isinstance(self.called, DistributedDataParallel) and not is_last:
            return self.called.no_sync()
        return nullcontext()

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Have the weights of the moment in the given model, on its device and in evaluation mode, for the block."""
        was_training = self.given.training
        self.given.eval()
        self.fetch()
        try:
            yield
        finally:
            self.given.train(was_training)
            if self.trained is not self.given:
                self.given.cpu()

    @torch.no_grad()
    def fetch(self) -> None:
        """Give the given model the weights of the moment, and put it back on its device."""
        if self.trained is not self.given:
            for ours, shared in zip(self.given.parameters(), self.trained.parameters(), strict=True):
                if shared.requires_grad:
                    ours.copy_(whole(shared.detach()))
            self.given.to(self.device)


def replicate(model: nn.Module) -> Replica:
    """Return a model as this process trains it; alone, that is the model itself."""
    device = next(model.parameters()).device
    if n_processes() == 1:
        return Replica(model, model, model, device)
    if is_sharded():
        sharded = sharded_copy(model.cpu(), device)
        return Replica(model, sharded, sharded, device)
    # All have the same buffers. Gradients that are views into what is sent save a copy of all of them.
    called = DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
    return Replica(model, model, called, device)


def sharded_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a model on the CPU, each of whose parameters is spread over the devices of all processes.

    Raises InputError if the processes would compute unlike numbers of parts.
    """
    from torch.distributed.device_mesh import (
        init_device_mesh,
    )  # here: half a second, and only several processes need it
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if len(set(asked := gathered(micro_batch()))) > 1:
        raise InputError(f"{MICRO_BATCH} differs between the processes ({asked}); with {SHARD}=1 it must be the same")
    mesh = init_device_mesh(device.type, (n_processes(),))
    copy = deepcopy(model)
    for blocks in [part for part in copy.modules() if isinstance(part, nn.ModuleList)]:
        for block in blocks:
            fully_shard(block, mesh=mesh)
            register_fsdp_forward_method(block, "at")  # computes too; see `LanguageModel.last_block_at`
    # By default what is outside the blocks would stay whole after a measurement, and so would be named_parameters().
    fully_shard(copy, mesh=mesh, reshard_after_forward=True)
    # A block may be called only once in a step. So no start that texts share is computed apart: all is computed for
    # every text.
    copy.register_forward_pre_hook(without_shared_start)
    return copy


def without_shared_start(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Say that texts share no start, where that is an argument: the third one of language models."""
    return arguments[:2] + (0,) * len(arguments[2:3]) + arguments[3:]


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which this process may have only a share as a whole; all processes must ask."""
    if not is_sharded():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_in_first(tensor: Tensor) -> Tensor:
    """Return a tensor that is shared as a whole on the CPU of the first process, and as an empty one in the others.

    One that is not shared is returned as it is. All processes must ask.
    """
    gathered = whole(tensor)
    if gathered is tensor:
        return tensor
    return gathered.cpu() if is_first() else gathered.new_empty(0)


def placed_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a whole tensor on the device of a parameter and, where that is a share of one, this process's share.

    A scalar is never shared.
    """
    if is_sharded() and tensor.ndim:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(parameter, DTensor):
            mesh, on_device = parameter.device_mesh, tensor.to(parameter.device)
            return distribute_tensor(on_device, mesh, parameter.placements, src_data_rank=None)  # all have the whole
    return tensor.to(parameter.device)


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all tensors together, those of which processes have shares included, a scalar tensor."""
    return whole(nn.utils.get_total_norm(tensors))


def forked_random(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which torch's generators of the CPU and of this device are as before."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def own_dropout(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Draw other numbers in every process and step for the block, so that no two rows get the same dropout.

    What all processes draw together stays the same in all. Alone, the process draws from the global generator.
    """
    if n_processes() == 1:
        yield
        return
    with forked_random(device):
        torch.manual_seed(int(np.random.SeedSequence([seed, step, rank()]).generate_state(1, np.uint64)[0]))
        yield
