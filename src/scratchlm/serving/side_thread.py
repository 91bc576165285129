"""One thread for what is computed beside the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Values = TypeVarTuple("Values")

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="side")  # each pass of a model uses all cores


async def compute(function: Callable[[*Values], T], *values: *Values) -> T:
    """Return `function(*values)`, computed after what came before it; not at all if this is cancelled until then."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, function, *values)
