"""Where the tensors live: the machine's choice, never a parameter."""

from __future__ import annotations

import os

import torch

from scratchlm.errors import InputError


def choose_device() -> torch.device:
    """Return the fastest device of this machine, or the one that SCRATCHLM_DEVICE names, and print it."""
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
        print(f"device: {device} (SCRATCHLM_DEVICE)")
        return device
    if torch.cuda.is_available():
        print(f"device: cuda ({torch.cuda.get_device_name()})")
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        print("device: mps (Apple GPU; SCRATCHLM_DEVICE=cpu for the CPU)")
        return torch.device("mps")
    print(f"device: cpu ({torch.get_num_threads()} threads; no GPU found)")
    return torch.device("cpu")
