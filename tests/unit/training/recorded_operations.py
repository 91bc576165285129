"""What torch runs while a test looks: each operation, and the dtypes of the tensors that it gets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Recorded(TorchDispatchMode):
    """Records each operation that torch runs, with the dtypes of the floating-point tensors that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[Any, set[torch.dtype]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]
        found = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_floating_point()}
        self.runs.append((func, found))
        return func(*args, **(kwargs or {}))

    def count(self, func: Any) -> int:
        """Return how often an overload such as `aten.mm.default` was run."""
        return sum(run is func for run, _ in self.runs)

    def dtypes(self) -> dict[Any, set[torch.dtype]]:
        """Return the dtypes that each operation such as `aten.mm` got, in all its overloads."""
        of: dict[Any, set[torch.dtype]] = {}
        for func, found in self.runs:
            of.setdefault(func.overloadpacket, set()).update(found)
        return of
