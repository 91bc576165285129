"""The book's published package: its tokenizer from our files, and its model with the weights of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from scratchlm.model.gpt import GPT

BPE_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"


def gpt2_tokenizer(ours: Path, cache: Path) -> Any:
    """Return the tokenizer that the book uses, of our files; tiktoken finds them in `cache` and downloads nothing."""
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copyfile(ours / name, cache / hashlib.sha1(f"{BPE_URL}/{name}".encode()).hexdigest())
    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
    import tiktoken

    return tiktoken.get_encoding("gpt2")


def book_model(gpt: GPT) -> nn.Module:
    """Return the book's model with a copy of the weights of `gpt`, whose activation is the tanh form of GELU."""
    from llms_from_scratch.ch04 import GPTModel

    keys = ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers", "drop_rate", "qkv_bias")
    model: nn.Module = GPTModel({key: getattr(gpt.config, key) for key in keys})
    found = gpt.state_dict()
    weights = {"tok_emb.weight": found["wte.weight"], "pos_emb.weight": found["wpe.weight"]}
    weights |= {"out_head.weight": found["wte.weight" if gpt.config.tie_embeddings else "lm_head.weight"]}
    weights |= {"final_norm.scale": found["ln_f.weight"], "final_norm.shift": found["ln_f.bias"]}
    for layer in range(gpt.config.n_layers):
        block = f"trf_blocks.{layer}"
        for kind in ("weight", "bias"):
            parts = found[f"h.{layer}.attn.c_attn.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                weights[f"{block}.att.W_{name}.{kind}"] = part
            weights[f"{block}.att.out_proj.{kind}"] = found[f"h.{layer}.attn.c_proj.{kind}"]
            weights[f"{block}.ff.layers.0.{kind}"] = found[f"h.{layer}.mlp.c_fc.{kind}"]
            weights[f"{block}.ff.layers.2.{kind}"] = found[f"h.{layer}.mlp.c_proj.{kind}"]
            for number in (1, 2):
                ending = "scale" if kind == "weight" else "shift"
                weights[f"{block}.norm{number}.{ending}"] = found[f"h.{layer}.ln_{number}.{kind}"]
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert not unknown and all(name.endswith("mask") for name in missing), (missing, unknown)
    return model
