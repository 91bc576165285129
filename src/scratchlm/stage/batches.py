"""Batches of work for several models, such as answers to instructions: interrupted, it goes on after the last batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scratchlm.stage.interruption import deferred
from scratchlm.stage.processes import gathered, leave, n_processes, rank
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots

Numbers = Sequence[int]
Work = tuple[Iterable[Numbers], Callable[[Numbers], Sequence[Any]]]  # the batches, and what computes one


def compute_batches(
    names: Sequence[str], n: int, what: str, begin: Callable[[str], Work], snapshots: Snapshots
) -> dict[str, list[Any]]:
    """Compute `n` results for each name, batch by batch; return them in the order of their numbers.

    `begin` is called for each name of which results are missing. It returns the batches, in each the numbers of some of
    the results, and the function that computes the results of a batch; both are the same each time. What is saved in
    `snapshots` is not computed again; results must fit into JSON, and a tuple may come back as a list. `what` names one
    result, for bars and messages. Raises Interrupted between two batches if a stop was requested.

    Several processes compute a batch each at a time; then the first returns the results, and the others end: call it as
    the last of the shared work.
    """
    saved = snapshots.load()
    # By the number of the result as a string: JSON has no other keys.
    results: dict[str, dict[str, Any]] = saved[1] if saved else {name: {} for name in names}

    def position() -> str:
        return f"{sum(map(len, results.values()))} of {len(names) * n} {what}s"

    if saved:
        print(f"resuming after {position()}")
    with deferred():
        for name, given in results.items():
            if len(given) == n:
                continue
            batches, compute = begin(name)
            missing = [numbers for numbers in batches if str(numbers[0]) not in given]
            with progress_bar(n, name, what, initial=len(given)) as bar:
                for first in range(0, len(missing), n_processes()):
                    together = missing[first : first + n_processes()]
                    snapshots.keep(lambda: ({}, results), position())
                    own = compute(together[rank()]) if rank() < len(together) else []
                    for numbers, computed in zip(together, gathered(own), strict=False):
                        given.update(zip(map(str, numbers), computed, strict=True))
                        bar.update(len(numbers))
        snapshots.keep(lambda: ({}, results), position(), ended=True)
    leave()
    return {name: [given[str(number)] for number in range(n)] for name, given in results.items()}
