"""A training with a compiled model: torch's compiler fuses what stands between the matrix products.

A language model that is trained alone is one graph. Otherwise, if its texts come as stored features, if it is a part of
a classifier, or if several processes share it, its blocks and its loss are graphs of their own: gradients then arrive
block by block. For GPT-2 124M on an H100 the one graph was 4 % faster.
"""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import nn

from scratchlm.errors import InputError
from scratchlm.model.language_model import LanguageModel
from scratchlm.stage.processes import n_processes

VARIABLE = "SCRATCHLM_COMPILE"


def compile_if_asked(model: nn.Module) -> None:
    """Compile a model if the environment asks for it.

    Raises InputError if SCRATCHLM_COMPILE is neither 0 nor 1, or if torch cannot compile here.
    """
    if is_compiling_asked():
        check_compiler(next(model.parameters()).device)
        print(f"compiling the model ({VARIABLE}); the first steps take longer")
        compile_model(model)


def is_compiling_asked() -> bool:
    """True if the environment asks for a compiled model; raise InputError if SCRATCHLM_COMPILE is neither 0 nor 1."""
    asked = os.environ.get(VARIABLE) or "0"
    if asked not in ("0", "1"):
        raise InputError(f"{VARIABLE} is {asked!r}, wanted 1 to compile the model, or 0")
    return asked == "1"


def compile_model(model: nn.Module) -> None:
    """Compile a language model, or the one inside `model`, in place; names and parameters stay."""
    quote_library_folders()
    # Not with `fullgraph=True`: it would end a training whose texts need more graphs than torch keeps, which is 8.
    if isinstance(model, LanguageModel) and n_processes() == 1:
        model.compile()
        return
    for part in model.modules():
        if isinstance(part, LanguageModel):
            for block in part.h:
                block.compile()
            part.loss_of_part = torch.compile(part.loss_of_part)


def check_compiler(device: torch.device) -> None:
    """Raise InputError if torch cannot compile for this device."""
    quote_library_folders()
    try:
        torch.compile(torch.exp)(torch.zeros(2, device=device))
    except Exception as error:  # whatever a missing compiler leads to, in torch, Triton or the compiler
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(
            f"{VARIABLE} is 1, but torch cannot compile for {device.type} here ({reason}): install a C++ compiler and "
            f"Python's headers, or unset {VARIABLE}"
        ) from None


@cache
def quote_library_folders() -> None:
    """Let torch link in a folder whose name has a space.

    torch 2.13 splits the command for its compiler at spaces, and quotes the folders of headers in it but not those of
    libraries: github.com/pytorch/pytorch/pull/191010.
    """
    from torch._inductor.cpp_builder import BuildOptionsBase  # takes a second

    folders = BuildOptionsBase.get_libraries_dirs
    quoted = lambda options: [shlex.quote(folder) for folder in folders(options)]  # noqa: E731
    BuildOptionsBase.get_libraries_dirs = quoted  # type: ignore[method-assign]


def uncompiled() -> AbstractContextManager[None]:
    """Return a context in which compiled models compute as they are written.

    Writing a text would compile a block for each of its lengths.
    """
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
