"""The device of the tensors: chosen by the machine or the environment, never by params.yaml."""

from __future__ import annotations

import os

import torch

from scratchlm.errors import InputError


def choose_device() -> torch.device:
    """Return the device of `find_device`, and print it with the reason."""
    device, reason = find_device()
    print(f"device: {device} ({reason})")
    return device


def find_device() -> tuple[torch.device, str]:
    """Return the device that SCRATCHLM_DEVICE names, or else the fastest of this machine, and the reason.

    Call it before the first tensor is made: see `use_huge_pages`. Raises InputError if the device cannot be used.
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
    """Make torch ask the kernel for huge pages, unless the environment says otherwise.

    Every step allocates and frees large tensors on the CPU; with huge pages the kernel handles 512 times fewer pages.
    torch reads this variable only once, for the first tensor of a process.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
