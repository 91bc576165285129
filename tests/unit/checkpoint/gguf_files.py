"""Small GGUF files as llama.cpp's converter writes them, by the gguf library's own writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from scratchlm.checkpoint.llama_layout import LlamaLayout
from scratchlm.model.config import LlamaConfig
from scratchlm.model.language_model import LanguageModel
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.protocol import END_OF_TEXT

SPECIAL = [END_OF_TEXT, "<|im_start|>"]


def tiny_vocabulary() -> tuple[list[str], list[str]]:
    """Return the tokens, special ones first, and the merges of a tokenizer of 281 tokens."""
    encoder, merges = train_bpe(["the cat sat on the mat and the dog ran over the green hill by the sea"] * 4, 280)
    return [*SPECIAL, *(token for token in encoder if token != END_OF_TEXT)], merges


def write_llama(
    path: Path,
    model: LanguageModel,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    more: Mapping[str, Any] | None = None,
    drop: str | None = None,
) -> None:
    """Write a Llama with the tokenizer of `tiny_vocabulary`; matrices are stored as `kind`.

    `more` are keys and tensors beside the usual ones or in their place, `drop` is one to leave out.
    """
    config = model.config
    assert isinstance(config, LlamaConfig)
    tokens, merges = tiny_vocabulary()
    values: dict[str, Any] = {
        "llama.context_length": config.context_length,
        "llama.embedding_length": config.emb_dim,
        "llama.feed_forward_length": config.hidden_dim,
        "llama.block_count": config.n_layers,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": config.norm_epsilon,
        "llama.rope.freq_base": config.rope_base,
        "llama.rope.dimension_count": config.head_dim,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)),
        "tokenizer.ggml.merges": merges,
    }
    tensors: dict[str, np.ndarray] = {}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.n_layers)
    for name, tensor in LlamaLayout(config).stored_tensors(model).items():
        heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}.get(name.split(".")[-2])
        rows = tensor if heads is None else as_llama_cpp_orders_rows(tensor, heads)
        tensors[str(names.get_name(name, try_suffixes=(".weight",)))] = rows.contiguous().numpy()
    for key, value in (more or {}).items():
        (tensors if isinstance(value, np.ndarray) else values)[key] = value
    writer = gguf.GGUFWriter(path, values.pop("general.architecture", "llama"))
    for key, value in values.items():
        if key != drop:
            add(writer, key, value)
    for key, value in tensors.items():
        if key != drop:
            stored = kind if value.ndim > 1 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(key, gguf.quants.quantize(value, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def as_llama_cpp_orders_rows(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Order the rows of a query or key so that elements that are rotated together are neighbours."""
    half = weight.shape[0] // n_heads // 2
    order = [head * 2 * half + part * half + row for head in range(n_heads) for row in range(half) for part in (0, 1)]
    return weight[order]
