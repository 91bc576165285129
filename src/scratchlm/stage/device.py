"""Where the tensors live: the machine's choice, never a parameter."""

from __future__ import annotations

import os

import torch

from scratchlm.errors import InputError


def choose_device() -> torch.device:
    """Return the device that `find_device` finds, and print it with the reason."""
    device, reason = find_device()
    print(f"device: {device} ({reason})")
    return device


def find_device() -> tuple[torch.device, str]:
    """Return the fastest device of this machine, or the one that SCRATCHLM_DEVICE names, and why.

    A program calls this before it makes its first tensor: see `use_huge_pages`.
    """
    use_huge_pages()
    asked = os.environ.get("SCRATCHLM_DEVICE")
    if asked:
        try:
            device = torch.device(asked)
            if device.type not in ("cpu", "cuda", "mps"):
                raise RuntimeError(f"unsupported type {device.type}")
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"SCRATCHLM_DEVICE is {asked!r}, which cannot be used here ({str(error).splitlines()[0]}): use cpu, "
                "cuda or mps"
            ) from None
        return device, "SCRATCHLM_DEVICE"
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return torch.device("mps"), "Apple GPU; SCRATCHLM_DEVICE=cpu for the CPU"
    return torch.device("cpu"), f"{torch.get_num_threads()} threads; no GPU found"


def use_huge_pages() -> None:
    """Have torch ask the kernel for huge pages, unless the environment says something else.

    Large tensors on the CPU come and go with every step; huge pages are 512 times fewer to hand over. torch looks at
    the environment when it makes the first tensor of a process, and never again.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
