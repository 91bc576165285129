"""The rows of a batch that a process computes, and how many of them at a time.

Every process draws the same batches and takes every n-th row of each, from the one with its own number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import ceil

import torch
from torch import Tensor

from scratchlm.errors import InputError
from scratchlm.stage.environment import read_count
from scratchlm.stage.processes import n_processes, rank, summed
from scratchlm.training.loss import Batch

MICRO_BATCH = "SCRATCHLM_MICRO_BATCH"  # rows that a process computes together, at most; unset or empty: see below
MOST_ROWS = 1_000_000


def micro_batch() -> int | None:
    """Return how many rows this machine computes together at most, None if it does not say.

    Raises InputError if SCRATCHLM_MICRO_BATCH is no whole number from 1.
    """
    return read_count(MICRO_BATCH, 1, MOST_ROWS) if os.environ.get(MICRO_BATCH) else None


def check_batch_size(stage: str, batch_size: int) -> None:
    """Raise InputError unless every process has equally many rows of a batch."""
    if batch_size % n_processes():
        divisors = [n for n in range(1, min(batch_size, n_processes()) + 1) if not batch_size % n]
        raise InputError(
            f"{stage}.batch_size is {batch_size}, which {n_processes()} processes cannot share evenly: start as many "
            f"as divide it (at most {divisors[-1]} of these), or change {stage}.batch_size, which changes the result"
        )


def own_parts(batch: Batch, at_once: int | None) -> Iterator[tuple[Batch, bool]]:
    """Yield this process's rows of a batch, at most `at_once` at a time (all if None), and whether they count.

    All processes get equally many parts, as sharded models need it. One that has no row left gets the first row of the
    batch, which does not count.
    """
    n_rows, n = len(batch[0]), n_processes()
    own, longest = range(rank(), n_rows, n), ceil(n_rows / n)
    at_once = at_once or longest
    for start in range(0, longest, at_once):
        rows = own[start : start + at_once]
        taken = rows or range(1)
        yield tuple(tensor[taken.start : taken.stop : taken.step] for tensor in batch), bool(rows)


def compute_rows(compute: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """Return what `compute` returns for every row of a batch, [B, ...] on the CPU; each process computes its share."""
    n_rows, n = len(batch[0]), n_processes()
    found = torch.cat([compute(part).cpu() for part, _ in own_parts(batch, micro_batch())])
    if n == 1:
        return found
    all_rows = found.new_zeros(n_rows, *found.shape[1:])
    all_rows[rank() :: n] = found[: len(range(rank(), n_rows, n))]
    return summed(all_rows)
