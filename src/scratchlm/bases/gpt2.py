"""Getting a base: one of GPT-2's four sizes (chapter 5.5)."""

from __future__ import annotations

from pathlib import Path

from scratchlm.checkpoint.folder import write_descriptions
from scratchlm.checkpoint.gpt2_layout import GPT2Layout
from scratchlm.checkpoint.weights import WEIGHTS, check_weights
from scratchlm.download.fetch import fetch
from scratchlm.download.sources import GPT2_WEIGHTS
from scratchlm.model.config import GPT2_CONTEXT_LENGTH, GPT2_VOCAB_SIZE, GPTConfig
from scratchlm.tokenizer.folder import write_hugging_face_tokenizer

# emb_dim, n_heads, n_layers (Radford et al. 2019, table 2); the names count the parameters of the released files.
SHAPES = {"124M": (768, 12, 12), "355M": (1024, 16, 24), "774M": (1280, 20, 36), "1558M": (1600, 25, 48)}


def gpt2_config(size: str) -> GPTConfig:
    """Return the configuration of a released GPT-2."""
    emb_dim, n_heads, n_layers = SHAPES[size]
    return GPTConfig(
        vocab_size=GPT2_VOCAB_SIZE,
        context_length=GPT2_CONTEXT_LENGTH,
        emb_dim=emb_dim,
        n_heads=n_heads,
        n_layers=n_layers,
        drop_rate=0.1,
        qkv_bias=True,
        tie_embeddings=True,
    )


def download_checkpoint(size: str, folder: Path, tokenizer_folder: Path) -> GPTConfig:
    """Download GPT-2's weights of a size into a new checkpoint, and check every key, shape and dtype.

    Raises InputError if they cannot be downloaded or do not fit.
    """
    config = gpt2_config(size)
    folder.mkdir(parents=True)
    fetch(GPT2_WEIGHTS[size], folder / WEIGHTS)
    write_hugging_face_tokenizer(tokenizer_folder, folder)
    write_descriptions(folder, config)
    check_weights(GPT2Layout(config), folder / WEIGHTS)
    return config
