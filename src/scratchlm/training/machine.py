"""What a training asks of the machine and of its processes, checked before anything is computed."""

from __future__ import annotations

from scratchlm.training.compiled import is_compiling_asked
from scratchlm.training.parallel import is_sharded
from scratchlm.training.shares import check_batch_size, micro_batch


def check_machine(stage: str, batch_size: int) -> None:
    """Raise InputError for a wrong setting in the environment, or if the processes cannot share a batch evenly."""
    is_compiling_asked()
    is_sharded()
    micro_batch()
    check_batch_size(stage, batch_size)
