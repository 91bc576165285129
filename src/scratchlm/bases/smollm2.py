"""Getting SmolLM2-135M as a base: from a Python package, with 4-bit weights, or in full precision from the hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from scratchlm.checkpoint.folder import write_descriptions
from scratchlm.checkpoint.gguf import read_gguf
from scratchlm.checkpoint.gguf_llama import gguf_config, gguf_tokenizer, read_parameter
from scratchlm.checkpoint.llama_layout import LlamaLayout
from scratchlm.checkpoint.weights import WEIGHTS, check_weights
from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF, SMOLLM2_TOKENIZER, SMOLLM2_WEIGHTS
from scratchlm.files.tensors import write_tensors
from scratchlm.model.config import SMOLLM2_CONTEXT_LENGTH, LlamaConfig
from scratchlm.tokenizer.byte_level import write_byte_level
from scratchlm.tokenizer.protocol import HF_TOKENIZER

# The config.json of HuggingFaceTB/SmolLM2-135M; the file with the 4-bit weights says the same.
CONFIG = LlamaConfig(
    vocab_size=49_152,
    context_length=SMOLLM2_CONTEXT_LENGTH,
    emb_dim=576,
    n_heads=9,
    n_layers=30,
    n_kv_heads=3,
    hidden_dim=1536,
    rope_base=100_000.0,
    norm_epsilon=1e-5,
    tie_embeddings=True,
)


def download_smollm2(base: str, folder: Path) -> LlamaConfig:
    """Download a SmolLM2-135M into a new checkpoint with its tokenizer, and check every key, shape and dtype.

    Raises InputError if it cannot be downloaded or does not fit.
    """
    folder.mkdir(parents=True)
    if base in SMOLLM2_WEIGHTS:
        fetch(SMOLLM2_WEIGHTS[base], folder / WEIGHTS)
        fetch(SMOLLM2_TOKENIZER, folder / HF_TOKENIZER)
        config = CONFIG
        write_descriptions(folder, config)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            config = convert_gguf(fetch(SMOLLM2_GGUF, Path(temporary) / SMOLLM2_GGUF.name), folder)
    check_weights(LlamaLayout(config), folder / WEIGHTS)
    return config


def convert_gguf(path: Path, folder: Path) -> LlamaConfig:
    """Write the Llama in a GGUF file as a checkpoint in float32 with its tokenizer; `folder` must be there.

    Little more memory is needed than for the largest tensor. Raises InputError if the file cannot be used.
    """
    gguf = read_gguf(path)
    config = gguf_config(gguf)
    write_byte_level(folder, gguf_tokenizer(gguf))
    write_descriptions(folder, config)
    layout = LlamaLayout(config)
    specs = {stored: (layout.shapes[name], torch.float32) for stored, name in layout.names.items()}
    write_tensors(folder / WEIGHTS, specs, lambda name: torch.tensor(read_parameter(gguf, config, layout.names[name])))
    return config
