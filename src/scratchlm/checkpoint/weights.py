"""Reading model.safetensors; files are checked before memory is allocated.

A `Layout` describes the names and shapes of the tensors in the file, one for each architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from scratchlm.checkpoint.config_json import CONFIG, SHOWN_PROBLEMS
from scratchlm.errors import InputError, OutputError
from scratchlm.files.text import bullets

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"  # beside files that transformers wrote in parts
FLOAT_DTYPES = ("F32", "F16", "BF16")
MAX_HEADER_BYTES = 2**23  # GPT-2 1558M's has 60 kB


class Layout(Protocol):
    """How a checkpoint names and stores the tensors of one model, such as `gpt2_layout.GPT2Layout`."""

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor of a checkpoint of this model: its name in the model -> its shape in the file."""

    def parameter_name(self, stored_name: str) -> str | None:
        """Return the model's name of a stored tensor; None for a redundant one."""

    def turned(self, name: str, tensor: Tensor) -> Tensor:
        """Transpose a tensor if model and file store it in different directions; works both ways."""

    def missing_problems(self, missing: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return what is wrong with a file that lacks tensors, given as name in the model -> expected shape."""

    def surplus_problem(self, stored_names: list[str]) -> str:
        """Return why the model cannot drop these tensors, which are not zero and not among its parameters."""

    def shape_hint(self, name: str, stored_shape: tuple[int, ...]) -> str:
        """Return a hint at the cause of an unexpected shape, or ""."""


def load_tensors(path: Path, like: nn.Module) -> dict[str, Tensor]:
    """Load a small safetensors file that holds exactly the parameters of `like`, or raise OutputError."""
    wanted = {name: tuple(parameter.shape) for name, parameter in like.named_parameters()}
    found = {name: shape for name, (shape, _) in read_headers(path).items()}
    if found != wanted:
        raise OutputError(f"{path} holds {found}, expected {wanted}")
    return load_file(path)


@torch.no_grad()
def load_weights(model: nn.Module, layout: Layout, path: Path) -> None:
    """Fill every parameter of `model` from a safetensors file, one tensor at a time.

    Needs hardly more memory than the parameters. Raises OutputError as `check_weights` does, and if a tensor holds
    NaN or infinity.
    """
    stored_names = check_weights(layout, path)
    parameters = dict(model.named_parameters())
    problems, surplus = [], []
    # The largest first, while most parameters are not in memory yet: its file pages and its copy need memory at once.
    for name in sorted(stored_names, key=lambda name: -parameters[name].numel() if name in parameters else 0):
        stored_name = stored_names[name]
        tensor = read_tensor(path, stored_name)
        # NaN and infinity show in the extremes, which need no copy of the tensor.
        if not all(extreme.isfinite() for extreme in tensor.aminmax()):
            problems.append(f"{stored_name} holds NaN or infinity")
        elif name in parameters:
            parameters[name].copy_(layout.turned(name, tensor))
        elif tensor.any():
            surplus.append(stored_name)
    if surplus:
        problems.append(layout.surplus_problem(surplus))
    if problems:
        raise OutputError(f"{path} cannot be used:" + bullets(problems, SHOWN_PROBLEMS))


def read_tensor(path: Path, stored_name: str) -> Tensor:
    """Read one tensor of a safetensors file, as it is stored."""
    # The file is mapped, and the pages read stay in memory until it is closed: open it again for each tensor.
    with safe_open(path, framework="pt") as stored:
        return stored.get_tensor(stored_name)  # type: ignore[no-any-return]


def check_weights(layout: Layout, path: Path) -> dict[str, str]:
    """Compare keys, shapes and dtypes in the header of a safetensors file with what `layout` expects.

    Returns name in the model -> name in the file. Raises OutputError that lists all differences.
    """
    headers = read_headers(path)
    found = {name: stored for stored in headers if (name := layout.parameter_name(stored)) is not None}
    expected = layout.stored_shapes()
    problems = layout.missing_problems({name: expected[name] for name in expected.keys() - found.keys()})
    problems += [f"{found[name]} is not a tensor of this model" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        shape, dtype = headers[found[name]]
        if shape != expected[name]:
            hint = layout.shape_hint(name, shape)
            problems.append(f"{found[name]} has shape {list(shape)}, expected {list(expected[name])}{hint}")
        if dtype not in FLOAT_DTYPES:
            problems.append(f"{found[name]} has dtype {dtype}, expected one of {', '.join(FLOAT_DTYPES)}")
    if problems:
        count = "1 difference" if len(problems) == 1 else f"{len(problems):,} differences"
        raise OutputError(
            f"{path} does not fit the model described by its {CONFIG}: {count}"
            + bullets(sorted(problems), SHOWN_PROBLEMS)
        )
    return found


def read_headers(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name -> (shape, dtype) of every tensor of a safetensors file; raise OutputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise SafetensorError(f"a header of {header_bytes:,} bytes, at most {MAX_HEADER_BYTES:,} are read")
        with safe_open(path, framework="pt") as stored:
            slices: dict[str, Any] = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except FileNotFoundError:
        if path.with_name(SHARDS).exists():
            raise InputError(
                f"{path.parent} holds its weights in several files, listed in {SHARDS}; wanted one {path.name}: load "
                'the folder with transformers and save it again with save_pretrained(..., max_shard_size="1TB")'
            ) from None
        raise OutputError(f"{path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise OutputError(
            f"{path} is not a readable safetensors file ({error}): it may be cut short or in another format "
            "(pickles are never read)"
        ) from None
