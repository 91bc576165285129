"""Model folders: Hugging Face GPT-2 checkpoints (config.json, model.safetensors, tokenizer files), both ways.

The modules carry GPT-2's own names, so a tensor needs no renaming; only its layout differs: GPT-2 stores the
weights of its four linear layers as [in, out], `nn.Linear` as [out, in].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scratchlm.errors import InputError
from scratchlm.files import atomic_path, read_json, write_json
from scratchlm.model import GPT, Activation, GPTConfig, empty_gpt
from scratchlm.tokenizer import (
    Tokenizer,
    copy_tokenizer_for_hugging_face,
    end_of_text,
    read_hugging_face_tokenizer,
    read_tokenizer,
)

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
PREFIX = "transformer."  # transformers' name for the model below the head; OpenAI's own upload has none
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, stored as a tensor by old versions
FLOAT_DTYPES = ("F32", "F16", "BF16")
CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "emb_dim": "n_embd",
    "n_heads": "n_head",
    "n_layers": "n_layer",
}
# transformers' names for what the feed-forward does; its `gelu` is the exact one.
ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
# The largest GPT-3 has 96 layers of width 12,288. Far beyond, building the model to compare with takes minutes.
LARGEST = {"n_layer": 1000, "n_embd": 1_000_000, "n_head": 1_000_000, "n_positions": 10**9, "vocab_size": 10**9}
MAX_HEADER_BYTES = 2**23  # GPT-2 1558M's has 60 kB
SHOWN_PROBLEMS = 50
WITHOUT_SHORTCUTS = "_without_shortcuts"  # ends the names that would tell others that this is a GPT-2
# What this GPT computes: a checkpoint that wants something else would load and give wrong logits.
FIXED_CONFIG = {
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def save_checkpoint(folder: Path, model: GPT, tokenizer_folder: Path) -> None:
    """Write `model` and its tokenizer as a folder that transformers' `GPT2LMHeadModel` loads.

    All but a model without shortcuts, which is no GPT-2: see `write_config`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_config(temporary, model.config, end_of_text(read_tokenizer(tokenizer_folder)))
        save_tensors(temporary / WEIGHTS, hugging_face_tensors(model))
        copy_tokenizer_for_hugging_face(tokenizer_folder, temporary)


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


def write_config(folder: Path, config: GPTConfig, end_of_text_id: int) -> None:
    """Write config.json in Hugging Face's names, plus `qkv_bias` and `shortcuts`, which they do not know.

    How attention is computed is not part of a model. Other programs would pass over `shortcuts: false` and compute
    other logits, so a model without shortcuts gets names that they refuse: transformers' Auto classes know no
    `model_type` gpt2_without_shortcuts, and `GPT2LMHeadModel`, which only warns of that, no such activation.
    """
    ending = "" if config.shortcuts else WITHOUT_SHORTCUTS
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    shape = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    drop_rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.drop_rate)
    write_json(
        folder / CONFIG,
        {
            "architectures": [f"GPT2LMHeadModel{ending}"],
            "model_type": f"gpt2{ending}",
            "activation_function": f"{activation}{ending}",
            **{key: allowed[0] for key, allowed in FIXED_CONFIG.items()},
            **shape,
            **drop_rates,
            "qkv_bias": config.qkv_bias,
            "shortcuts": config.shortcuts,
            "tie_word_embeddings": config.tie_embeddings,
            "bos_token_id": end_of_text_id,
            "eos_token_id": end_of_text_id,
        },
    )


def read_description(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object from a model folder; raise InputError that says there is no usable `kind` of model."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path.parent} holds no {kind} ({path.name} is missing): run `make repro` to build it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): run `make repro` to build it again") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): run `make repro` to build it again") from None
    if not isinstance(found, dict):
        raise InputError(
            f"{path} holds a {type(found).__name__}, not a JSON object: run `make repro` to build it again"
        )
    return found


def read_config(folder: Path) -> GPTConfig:
    """Read a model folder's config.json; what attention is computed with is not in it and is `sdpa`.

    Raises InputError if it is missing, is not JSON, lacks a key or describes another kind of model.
    """
    path = folder / CONFIG
    found = read_description(path, "model")
    problems = [
        f"{key} is {found.get(key)!r}, expected a whole number from 1 to {LARGEST[key]:,}"
        for key in CONFIG_NAMES.values()
        if type(found.get(key)) is not int or not 1 <= found[key] <= LARGEST[key]
    ]
    drop_rate = found.get("resid_pdrop", 0.1)  # transformers' default
    if type(drop_rate) not in (int, float) or not 0 <= drop_rate < 1:
        problems.append(f"resid_pdrop is {drop_rate!r}, expected a number from 0 to below 1")
    problems += [
        f"{key} is {found[key]!r}, expected true or false"
        for key in ("qkv_bias", "shortcuts", "tie_word_embeddings")
        if type(found.get(key, True)) is not bool
    ]
    ending = "" if found.get("shortcuts", True) else WITHOUT_SHORTCUTS
    activations = {f"{theirs}{ending}": ours for theirs, ours in ACTIVATIONS.items()}
    supported = {"model_type": (f"gpt2{ending}",), "activation_function": tuple(activations), **FIXED_CONFIG}
    problems += [
        f"{key} is {found[key]!r}, supported: {' or '.join(map(repr, allowed))}"
        for key, allowed in supported.items()
        if key in found and found[key] not in allowed
    ]
    if not problems and found["n_embd"] % found["n_head"]:
        problems.append(f"n_embd {found['n_embd']} is not a multiple of n_head {found['n_head']}")
    if not problems and found.get("n_inner") not in (None, 4 * found["n_embd"]):
        problems.append(f"n_inner is {found['n_inner']}, supported: null or 4 * n_embd = {4 * found['n_embd']}")
    if problems:
        raise InputError(f"{path} is not a GPT-2 configuration that can be used:" + _bullets(problems))
    return GPTConfig(
        **{ours: found[theirs] for ours, theirs in CONFIG_NAMES.items()},
        drop_rate=float(drop_rate),
        qkv_bias=found.get("qkv_bias", True),
        tie_embeddings=found.get("tie_word_embeddings", True),
        activation=activations[found.get("activation_function", f"gelu_new{ending}")],
        shortcuts=found.get("shortcuts", True),
    )


def load_checkpoint(folder: Path) -> GPT:
    """Load a model folder into a GPT on the CPU, in float32 and evaluation mode, without dropout.

    Raises InputError that lists every missing, unknown or misshapen tensor at once.
    """
    config = replace(read_config(folder), drop_rate=0.0)
    check_weights(config, folder / WEIGHTS)  # before memory is taken for what the file does not hold
    model = empty_gpt(config)
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def load(folder: Path) -> tuple[GPT, Tokenizer]:
    """Load the model and the tokenizer of a model folder, such as `models/assistant`."""
    return load_checkpoint(folder), read_hugging_face_tokenizer(folder)


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
        raise InputError(f"{path} cannot be used:" + _bullets(problems))


def _read_tensor(path: Path, stored_name: str) -> Tensor:
    # The file is mapped, and every page that was read counts as memory until it is closed: open it for each anew.
    with safe_open(path, framework="pt") as stored:
        return stored.get_tensor(stored_name)  # type: ignore[no-any-return]


def load_tensors(path: Path, like: nn.Module) -> dict[str, Tensor]:
    """Load a small safetensors file that holds exactly the parameters of `like`, or raise InputError."""
    wanted = {name: tuple(parameter.shape) for name, parameter in like.named_parameters()}
    found = {name: shape for name, (shape, _) in _read_headers(path).items()}
    if found != wanted:
        raise InputError(f"{path} holds {found}, expected {wanted}: run `make repro` to build it again")
    return load_file(path)


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
            f"{path} does not fit the model described by its {CONFIG}: {count}" + _bullets(sorted(problems))
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


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise InputError if a model folder's vocabulary is not the tokenizer's: other size, or other end of text."""
    model_size = read_config(folder).vocab_size
    model_end = read_description(folder / CONFIG, "model").get("eos_token_id")
    if model_size != tokenizer.n_vocab:
        difference = f"has {model_size} tokens, the tokenizer {tokenizer.n_vocab}"
    elif model_end != end_of_text(tokenizer):
        difference = f"ends its texts with token {model_end}, the tokenizer with {end_of_text(tokenizer)}"
    else:
        return
    raise InputError(
        f"the model in {folder} {difference}: a model can only be used with the tokenizer it was trained with (for "
        "GPT-2's weights, set tokenizer.kind to gpt2)"
    )


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
            "(pickles are never read); download or build it again"
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


def _bullets(problems: list[str]) -> str:
    more = len(problems) - SHOWN_PROBLEMS
    return "".join(f"\n  - {problem}" for problem in problems[:SHOWN_PROBLEMS]) + (
        f"\n  and {more:,} more" if more > 0 else ""
    )
