"""The processes that torchrun starts for one stage, each on its own device; a stage without torchrun is one process.

All of them run the same script. The first one alone talks, writes files and keeps snapshots; the others compute their
share and leave when the shared work is done. What they tell each other is JSON or tensors, never pickled.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import Tensor, distributed


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def n_processes() -> int:
    """Return how many processes run this stage together, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """True of the process that talks, writes files and keeps snapshots."""
    return rank() == 0


def from_first(value: Any) -> Any:
    """Return what the first process gives, which must fit into JSON, in all processes; alone, the value itself."""
    return gathered(value)[0] if n_processes() > 1 else value


def gathered(value: Any) -> list[Any]:
    """Return what each process gives, in their order, after a round trip through JSON; alone, a list of the value."""
    if n_processes() == 1:
        return [value]
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(n_processes())]
    distributed.all_gather(sizes, torch.tensor([len(text)]))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([text, torch.zeros(longest - len(text), dtype=torch.uint8)])
    texts = [torch.zeros_like(padded) for _ in sizes]
    distributed.all_gather(texts, padded)
    return [json.loads(each[: int(size)].numpy().tobytes()) for each, size in zip(texts, sizes, strict=True)]


def any_of(flag: bool) -> bool:
    """True in all processes if it is in one of them."""
    if n_processes() == 1:
        return flag
    found = torch.tensor(int(flag))
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found)


def summed(tensor: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes, in all of them; alone, the tensor itself."""
    if n_processes() == 1:
        return tensor
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


def join() -> None:
    """Meet the other processes that torchrun has started; alone, do nothing."""
    if n_processes() > 1:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
