"""The device of the tensors: chosen by the machine or the environment, never by params.yaml."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from scratchlm.errors import InputError
from scratchlm.params.choices import Precision
from scratchlm.stage.environment import is_one_of_several

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86 and, the last, of ARM, as torch names them


def choose_device(precision: Precision = "float32") -> torch.device:
    """Return the device of `find_device`, and print it with the reason.

    Also printed are what a `precision` of auto becomes on it, and that it is slow in bfloat16.
    """
    device, reason = find_device()
    print(f"device: {device} ({reason})")
    fast = has_bfloat16(device)
    if device.type == "cpu":
        found = "processor has " + ("AVX512_BF16, AMX or ARM's BF16" if fast else "neither AVX512_BF16 nor AMX")
    else:
        found = "GPU has bfloat16" if fast else "GPU has no bfloat16"
    if precision == "auto":
        print(f"precision: {'bfloat16' if fast else 'float32'}, as this {found}")
    elif precision == "bfloat16" and not fast:
        print(f"precision: bfloat16 works but is slow, as this {found}; for speed set precision to float32 or auto")
    return device


def find_device() -> tuple[torch.device, str]:
    """Return the device that SCRATCHLM_DEVICE names, or else the fastest of this machine, and the reason.

    Of several processes on one machine, each gets the GPU with its number. Call it before the first tensor is made: see
    `use_huge_pages`. Raises InputError if the device cannot be used.
    """
    use_huge_pages()
    device, reason = find_any_device()
    if device.type == "cpu" or not is_one_of_several():
        return device, reason
    if device.type == "mps" or device.index is not None:
        raise InputError(
            f"SCRATCHLM_DEVICE is {str(device)!r}, which several processes cannot share: use cuda, for a GPU each, "
            "or cpu"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])), reason


def find_any_device() -> tuple[torch.device, str]:
    """Return the device that SCRATCHLM_DEVICE names, or else the fastest of this machine, and the reason."""
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


def autocast(model: nn.Module, precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which the matrix products of a model are computed in `precision`; its weights are float32.

    Auto is bfloat16 where `has_bfloat16` is true of the model's device, and float32 elsewhere. With bfloat16, products
    have bfloat16 results, and so has what is computed from nothing but those. The layer norms and
    `F.cross_entropy` are float32, and so is what torch's softmax computes inside; so are the sums along the shortcuts,
    except in a GPT on a GPU.

    The context keeps copies of the weights until it ends: enter it anew after every change of them, and leave it
    before the backward pass, which uses the precision of the forward pass by itself.
    """
    device = next(model.parameters()).device
    if precision == "bfloat16" or (precision == "auto" and has_bfloat16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def has_bfloat16(device: torch.device) -> bool:
    """True if the device has instructions for products in bfloat16; assumed of Apple's GPUs."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "mps" or any(capabilities.get(name, False) for name in BF16_INSTRUCTIONS)


def use_huge_pages() -> None:
    """Make torch ask the kernel for huge pages, unless the environment says otherwise.

    Every step allocates and frees large tensors on the CPU; with huge pages the kernel handles 512 times fewer pages.
    torch reads this variable only once, for the first tensor of a process.
    """
    # What did not pay: telling glibc to keep freed memory for the next step (mallopt, M_MMAP_MAX 0). It saved 5 to 17 %
    # of the processor's time of a step with GPT-2 124M, but glibc 2.36 rarely finds a freed aligned block again: a
    # tensor of 100 MB, made and freed again and again, took 750 MB in the end.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
