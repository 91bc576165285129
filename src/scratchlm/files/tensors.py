"""Writing safetensors files one tensor at a time: all of them at once would be a second copy of a large model.

The library's `save_file` wants every tensor on the CPU and contiguous before it writes the first one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchlm.files.room import check_room, writable

# In the order in which the library sorts tensors in a file, backwards.
DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
Spec = tuple[tuple[int, ...], torch.dtype]  # a tensor's shape and dtype


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device and strides to a safetensors file, each byte as the library's `save_file` does.

    Each tensor is asked for twice, for its shape and for its numbers. Raises InputError if the disk is full.
    """
    specs = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    place = {dtype: -number for number, dtype in enumerate(DTYPES)}
    in_order = sorted(specs, key=lambda name: (place[specs[name][1]], name))
    write_tensors(path, {name: specs[name] for name in in_order}, tensors.__getitem__)


def write_tensors(path: Path, specs: Mapping[str, Spec], read: Callable[[str], Tensor]) -> None:
    """Write a safetensors file of tensors in this order, each of which is read by name when its turn comes.

    Raises InputError if the disk is full.
    """
    # Only one metadata key: the library writes several in an order that differs from process to process.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, dtype) in specs.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the tensors begin at a multiple of 8
    check_room(path.parent, end)
    with writable(path.parent, end), path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in specs:
            file.write(read(name).detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
