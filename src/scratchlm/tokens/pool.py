"""Work shared by threads, with results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING_ITEMS = 2  # for each thread; while the caller handles one, none of them runs out of work


def in_order(
    prepare: Callable[[], Callable[[Item], Result]], items: Iterable[Item], n_threads: int
) -> Generator[Result, None, None]:
    """Yield the result for each item in order; threads compute them ahead of the caller.

    Each thread calls `prepare` once, and what that returns for each of its items. The items are taken by the caller's
    thread. At most two of them per thread, or their results, wait in memory. The work should be outside of Python's
    global lock, or the threads wait for each other.
    """
    own = threading.local()

    def begin() -> None:
        own.compute = prepare()

    def compute(item: Item) -> Result:
        result: Result = own.compute(item)
        return result

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads, initializer=begin) as pool:
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
