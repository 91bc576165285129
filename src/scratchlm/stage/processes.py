"""The processes that torchrun starts for one stage, each on its own device; a stage without torchrun is one process.

All of them run the same script. The first one alone talks, writes files and keeps snapshots; the others compute their
share and leave when the shared work is done. What they tell each other is JSON or tensors, never pickled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from scratchlm.errors import InputError
from scratchlm.stage.device import find_device
from scratchlm.stage.environment import THREADS
from scratchlm.stage.interruption import requested

# Ample for the longest work that the first process does alone, the features of frozen blocks, which a later run goes on
# with. That a process is gone, the others notice at once, but not that a machine has lost its power.
LONGEST_WAIT = timedelta(hours=6)
LONGEST_MEETING_S = 15 * 60  # torchrun's own limit; it starts all at about the same time, and they load torch
LOOK_EVERY_S = 0.1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def n_processes() -> int:
    """Return how many processes share the work now, on all machines."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """True of the process that talks, writes files and keeps snapshots."""
    return rank() == 0


def n_threads() -> int:
    """Return the number of threads that one process of this stage has on this machine, or would have if alone."""
    return int(os.environ.get(THREADS) or torch.get_num_threads())


def from_first(value: Any) -> Any:
    """Return what the first process gives, which must fit into JSON, in all processes; alone, the value itself."""
    return gathered(value if is_first() else None)[0]


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
    return bool(summed(torch.tensor(int(flag))))


def summed(tensor: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes, in all of them; alone, the tensor itself."""
    if n_processes() == 1:
        return tensor
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


def join() -> None:
    """Meet the other processes that torchrun has started, and be silent unless this is the first of them."""
    if os.environ["RANK"] != "0":
        for stream in (sys.stdout, sys.stderr):
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, stream.fileno())  # also what libraries print
            os.close(silence)
    device, _ = find_device()
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    store, own_rank, n = next(rendezvous("env://", timeout=LONGEST_WAIT))
    meet(PrefixStore("meeting", store), n)
    distributed.init_process_group(backend, store=store, rank=own_rank, world_size=n, timeout=LONGEST_WAIT)


def meet(store: Store, n: int) -> None:
    """Wait until `n` processes are here; raise KeyboardInterrupt in all of them if one is asked to stop before that.

    torch's own waiting does not notice that another process has been stopped, and hears no signal. Raises InputError
    after 15 minutes: on another machine, one may have failed before it came.
    """
    until_s = time.monotonic() + LONGEST_MEETING_S
    if store.add("arrived", 1) == n:
        store.compare_set("decision", "", "go on")  # the first decision stands
    while not store.check(["decision"]):
        if requested():
            store.compare_set("decision", "", "stop")
        if time.monotonic() > until_s:
            raise InputError(
                f"{store.add('arrived', 0)} of {n} processes have come in {LONGEST_MEETING_S // 60} minutes: see what "
                "the others' machines say, then run `make repro` again"
            )
        time.sleep(LOOK_EVERY_S)
    if store.get("decision") == b"stop":
        raise KeyboardInterrupt


def leave() -> None:
    """Part from the other processes, as the shared work is done: the first goes on alone, the others end here."""
    if not distributed.is_initialized():
        return
    is_needed = is_first()
    distributed.destroy_process_group()
    if not is_needed:
        sys.exit(0)


def is_desertion(error: Exception) -> bool:
    """True if an exchange with the other processes failed, as it does when one of them is gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
