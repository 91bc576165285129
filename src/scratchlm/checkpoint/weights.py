"""A model folder's model.safetensors: GPT-2's names and layout, both ways, checked before memory is taken.

The modules carry GPT-2's own names, so a tensor needs no renaming; only its layout differs: GPT-2 stores the
weights of its four linear layers as [in, out], `nn.Linear` as [out, in].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scratchlm.checkpoint.config_json import CONFIG, bullets
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import empty_gpt

WEIGHTS = "model.safetensors"
PREFIX = "transformer."  # transformers' name for the model below the head; OpenAI's own upload has none
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, stored as a tensor by old versions
FLOAT_DTYPES = ("F32", "F16", "BF16")
AGAIN = "run `make repro` to build it again"
MAX_HEADER_BYTES = 2**23  # GPT-2 1558M's has 60 kB


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as a safetensors file; raise InputError if the disk does not take it."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        # One metadata key: with more, safetensors orders them differently in each process.
        save_file(contiguous, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what a full disk raises here, not OSError
        size_bytes = sum(tensor.nbytes for tensor in contiguous.values())
        raise InputError(
            f"cannot write {size_bytes:,} bytes to {path.parent} ({error}): make room, then run again"
        ) from None


def load_tensors(path: Path, like: nn.Module) -> dict[str, Tensor]:
    """Load a small safetensors file that holds exactly the parameters of `like`, or raise InputError."""
    wanted = {name: tuple(parameter.shape) for name, parameter in like.named_parameters()}
    found = {name: shape for name, (shape, _) in _read_headers(path).items()}
    if found != wanted:
        raise InputError(f"{path} holds {found}, expected {wanted}: {AGAIN}")
    return load_file(path)


def hugging_face_tensors(model: GPT) -> dict[str, Tensor]:
    """Return the state dict in GPT2LMHeadModel's names and layout, in float32."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        stored = tensor.T if name.endswith(TRANSPOSED) else tensor
        stored_name = name if name == "lm_head.weight" else PREFIX + name
        tensors[stored_name] = stored.float()
    if not model.config.qkv_bias:
        for layer in range(model.config.n_layers):
            tensors[f"{PREFIX}h.{layer}.attn.c_attn.bias"] = torch.zeros(3 * model.config.emb_dim)
    return tensors


@torch.no_grad()
def load_weights(model: GPT, path: Path) -> None:
    """Fill every parameter of `model` from a safetensors file, one tensor at a time.

    Takes hardly more memory than the parameters themselves. Raises InputError as `check_weights` does, or if a
    tensor holds NaN or infinity.
    """
    stored_names = check_weights(model.config, path)
    parameters = dict(model.named_parameters())
    problems, dropped_biases = [], []
    # The largest first, while most parameters are not in memory yet: their file pages and their copy add up.
    for name in sorted(stored_names, key=lambda name: -parameters[name].numel() if name in parameters else 0):
        stored_name = stored_names[name]
        tensor = _read_tensor(path, stored_name)
        # NaN and infinity reach the extremes, which cost no copy of the tensor.
        if not all(extreme.isfinite() for extreme in tensor.aminmax()):
            problems.append(f"{stored_name} holds NaN or infinity")
        elif name in parameters:
            parameters[name].copy_(tensor.T if name.endswith(TRANSPOSED) else tensor)
        elif tensor.any():
            dropped_biases.append(stored_name)
    if dropped_biases:
        problems.append(
            f"qkv_bias is false, but {_first_of(dropped_biases)} not zero: the model was trained with biases of "
            f"query, key and value, and its logits would be wrong without them; set qkv_bias to true in {CONFIG}"
        )
    if problems:
        raise InputError(f"{path} cannot be used; {AGAIN}:" + bullets(problems))


def _read_tensor(path: Path, stored_name: str) -> Tensor:
    # The file is mapped, and every page that was read counts as memory until it is closed: open it for each anew.
    with safe_open(path, framework="pt") as stored:
        return stored.get_tensor(stored_name)  # type: ignore[no-any-return]


def check_weights(config: GPTConfig, path: Path) -> dict[str, str]:
    """Compare a safetensors file's keys, shapes and dtypes with `config`, from its header alone.

    Returns our parameter name -> the name stored in the file, which may hold no biases of query, key and value if
    the model has none. Raises InputError with all differences.
    """
    headers = _read_headers(path)
    found = {}
    for stored_name in headers:
        name = stored_name.removeprefix(PREFIX)
        if name.endswith(MASK_BUFFERS) or (name == "lm_head.weight" and config.tie_embeddings):
            continue  # repeats something that is known or tied
        found[name] = stored_name
    expected = expected_shapes(config)
    missing = expected.keys() - found.keys()
    problems = []
    qkv_biases = {f"h.{layer}.attn.c_attn.bias" for layer in range(config.n_layers)}
    if qkv_biases <= missing:
        missing -= qkv_biases
        if config.qkv_bias:
            problems.append(
                f"qkv_bias is true, but {_first_of(sorted(qkv_biases))} missing: the model was trained without biases "
                f"of query, key and value; set qkv_bias to false in {CONFIG}"
            )
    problems += [f"{name} is missing, expected {list(expected[name])}" for name in missing]
    problems += [f"{found[name]} is not a tensor of this model" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        shape, dtype = headers[found[name]]
        if shape != expected[name]:
            hint = _position_hint(shape, config) if name == "wpe.weight" else ""
            problems.append(f"{found[name]} has shape {list(shape)}, expected {list(expected[name])}{hint}")
        if dtype not in FLOAT_DTYPES:
            problems.append(f"{found[name]} has dtype {dtype}, expected one of {', '.join(FLOAT_DTYPES)}")
    if problems:
        count = "1 difference" if len(problems) == 1 else f"{len(problems):,} differences"
        raise InputError(
            f"{path} does not fit the model described by its {CONFIG}; {AGAIN}: {count}" + bullets(sorted(problems))
        )
    return found


def expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name every tensor that a checkpoint of this shape holds, with its shape as stored in the file."""
    with torch.device("meta"):
        parameters = empty_gpt(config).state_dict()
    shapes = {
        name: tuple(reversed(tensor.shape)) if name.endswith(TRANSPOSED) else tuple(tensor.shape)
        for name, tensor in parameters.items()
    }
    for layer in range(config.n_layers):
        shapes[f"h.{layer}.attn.c_attn.bias"] = (3 * config.emb_dim,)  # stored as zeros without qkv_bias
    return shapes


def _read_headers(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise SafetensorError(f"a header of {header_bytes:,} bytes, at most {MAX_HEADER_BYTES:,} are read")
        with safe_open(path, framework="pt") as stored:
            slices: dict[str, Any] = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `make repro` to build it") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}): it may be cut short or in another format "
            f"(pickles are never read); {AGAIN}"
        ) from None


def _position_hint(stored_shape: tuple[int, ...], config: GPTConfig) -> str:
    if stored_shape[1:] != (config.emb_dim,):
        return ""
    return (
        f": it holds one trained vector for each of {stored_shape[0]} positions, so the model that it belongs to has "
        f"context_length {stored_shape[0]}, not {config.context_length} (texts may be shorter); set n_positions to "
        f"{stored_shape[0]} in {CONFIG}, or use weights trained with {config.context_length}"
    )


def _first_of(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"
