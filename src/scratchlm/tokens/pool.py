"""Work shared by threads, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING_ITEMS = 2  # for each thread; while the caller handles one, none of them runs out of work


def in_order(compute: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Generator[Result, None, None]:
    """Yield `compute(item)` for each item in order; threads compute them ahead of the caller.

    The items are taken by the caller's thread. At most two of them per thread, or their results, wait in memory.
    `compute` should spend its time outside of Python's global lock, or the threads wait for each other.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(compute, item))
                if len(waiting) == WAITING_ITEMS * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
