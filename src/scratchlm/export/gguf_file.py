"""Writing a model folder as a GGUF file, the format of llama.cpp and Ollama, one tensor at a time.

The `gguf` library lays out the file. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGUFWriter
from gguf.constants import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGMLQuantizationType,
    LlamaFileType,
    TokenType,
)
from gguf.constants import (
    GGUF_DEFAULT_ALIGNMENT as ALIGNMENT,
)
from gguf.quants import quantize

from scratchlm.checkpoint.config_json import layout_of, read_config
from scratchlm.checkpoint.gguf_llama import BPE
from scratchlm.checkpoint.weights import WEIGHTS, Layout, check_weights, read_tensor
from scratchlm.errors import InputError, OutputError
from scratchlm.export.gguf_layout import (
    POSITIONS,
    architecture_of,
    check_expressible,
    describe_shape,
    gguf_name,
    in_gguf_order,
    is_absent,
)
from scratchlm.export.vocabulary import Vocabulary
from scratchlm.model.config import ModelConfig

Dtype = Literal["f32", "f16", "q8_0"]

FILE_TYPES = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
F32, F16, Q8_0 = GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0
BLOCK = GGML_QUANT_SIZES[Q8_0][0]
LARGEST_F16 = 65504.0


class Planned(NamedTuple):
    """A tensor that is to be written: its name in our model, its shape, and its type in the file."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType


def write_gguf(
    path: Path, folder: Path, vocabulary: Vocabulary, dtype: Dtype, name: str, chat_template: str | None
) -> None:
    """Write the model in `folder`, a checkpoint as `save_checkpoint` writes it, as a GGUF file with its tokenizer.

    `name` is what programs show; a `chat_template`, in Jinja, makes prompts of chats. Weights of one dimension and
    positions are in float32 whatever the `dtype`. With q8_0, weights whose rows are not whole blocks of 32 numbers are
    in float16. The header asks for greedy answers. Memory is needed for the largest tensor, twice.

    Raises InputError for a model that llama.cpp would not compute as we do, and for weights that float16 cannot hold;
    OutputError for a damaged folder.
    """
    config = read_config(folder)
    check_expressible(config)
    layout = layout_of(config)
    stored_names = check_weights(layout, folder / WEIGHTS)
    tensors = plan_tensors(layout, dtype)
    writer = GGUFWriter(path, architecture_of(config))
    try:
        add_shape(writer, folder, config, dtype, name)
        add_tokenizer(writer, vocabulary, chat_template)
        for parameter, shape, kind in tensors:
            stored_as = gguf_name(config, parameter)
            writer.add_tensor_info(stored_as, shape, np.dtype(np.float32), size_of(shape, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % ALIGNMENT))
        for parameter, shape, kind in tensors:
            if parameter in stored_names:
                values = read_checked(folder / WEIGHTS, layout, parameter, stored_names[parameter])
            else:
                values = np.zeros(shape, np.float32)
            if is_absent(config, parameter) and values.any():
                raise OutputError(f"{folder} cannot be used: {layout.surplus_problem([stored_names[parameter]])}")
            content = encoded(in_gguf_order(config, parameter, values), kind, parameter)
            file.write(content.data)
            file.write(bytes(-content.nbytes % ALIGNMENT))


def add_shape(writer: GGUFWriter, folder: Path, config: ModelConfig, dtype: Dtype, name: str) -> None:
    """Add what a file's header says of the model, all but the architecture, which is there already."""
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_sampling_temp(0.0)
    for key, value in describe_shape(folder, config).items():
        writer.add_float32(key, value) if isinstance(value, float) else writer.add_uint32(key, value)


def add_tokenizer(writer: GGUFWriter, vocabulary: Vocabulary, chat_template: str | None) -> None:
    """Add what a file's header says of the tokenizer."""
    special = vocabulary.special_ids
    kinds = [TokenType.CONTROL if index in special else TokenType.NORMAL for index in range(len(vocabulary.tokens))]
    writer.add_tokenizer_model(BPE)
    writer.add_tokenizer_pre(vocabulary.cut)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.end_of_text_id)
    writer.add_eos_token_id(vocabulary.end_of_text_id)
    writer.add_add_bos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def plan_tensors(layout: Layout, dtype: Dtype) -> list[Planned]:
    """Return the tensors that llama.cpp wants, in the order of our model.

    They are those of a checkpoint, with biases of query, key and value: where a model has none, they are zeros.
    """
    planned = []
    for name, stored_shape in layout.stored_shapes().items():
        shape = tuple(layout.turned(name, torch.empty(stored_shape, device="meta")).shape)
        planned.append(Planned(name, shape, kind_of(name, shape, dtype)))
    return planned


def kind_of(name: str, shape: tuple[int, ...], dtype: Dtype) -> GGMLQuantizationType:
    """Return the type of a tensor in the file, that which llama.cpp's own converter gives it."""
    if dtype == "f32" or len(shape) == 1 or name == POSITIONS:
        return F32
    return Q8_0 if dtype == "q8_0" and shape[-1] % BLOCK == 0 else F16


def weights_bytes(config: ModelConfig, dtype: Dtype) -> int:
    """Return how many bytes all tensors have in the file."""
    return sum(size_of(shape, kind) for _, shape, kind in plan_tensors(layout_of(config), dtype))


def size_of(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    """Return how many bytes a tensor has in the file."""
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return math.prod(shape) // block * int(block_bytes)


def read_checked(path: Path, layout: Layout, name: str, stored_name: str) -> npt.NDArray[np.float32]:
    """Read the tensor that has `name` in our model, in its direction there; raise OutputError for NaN and infinity."""
    tensor = read_tensor(path, stored_name)
    # NaN and infinity show in the extremes, which need no copy of the tensor.
    if not all(extreme.isfinite() for extreme in tensor.aminmax()):
        raise OutputError(f"{path} cannot be used: {stored_name} holds NaN or infinity")
    values: npt.NDArray[np.float32] = layout.turned(name, tensor).float().numpy()
    return values


def encoded(tensor: npt.NDArray[np.float32], kind: GGMLQuantizationType, name: str) -> npt.NDArray[Any]:
    """Return a tensor as it is in the file; raise InputError if float16 cannot hold it."""
    if kind == F32:
        return np.ascontiguousarray(tensor)
    if kind == Q8_0:
        return cast(npt.NDArray[np.uint8], quantize(tensor, kind))
    if max(-float(tensor.min()), float(tensor.max())) > LARGEST_F16:
        raise InputError(
            f"{name} holds numbers above {LARGEST_F16:,.0f}, the largest of float16: export it with --dtype f32"
        )
    return np.ascontiguousarray(tensor, np.float16)
