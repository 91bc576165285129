"""The initial weights of a GPT: unset, random as in the book, or random as in GPT-2."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import psutil
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from scratchlm.errors import InputError
from scratchlm.model.config import AttentionKind, GPTConfig, Init
from scratchlm.model.gpt import GPT, Block

GPT2_STD = 0.02  # of GPT-2's initial weights, at widths of 768 and more


class WithoutInit(TorchFunctionMode):
    """Turn off torch's init of layers: parameters are allocated but not filled."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return None
        return func(*args, **(kwargs or {}))


def empty_gpt(config: GPTConfig, attention: AttentionKind = "sdpa") -> GPT:
    """Build a GPT whose parameters are allocated but not filled; the caller must fill all of them."""
    # The meta device would work too, but there torch's init imports its compiler: a second and 75 MB.
    with WithoutInit():
        return GPT(config, attention)


def new_gpt(config: GPTConfig, init: Init, init_std: float = GPT2_STD, attention: AttentionKind = "sdpa") -> GPT:
    """Build a GPT with random weights from torch's global generator.

    `book` draws as the book's code does: torch's default init, with query, key and value drawn separately and the
    head last. `gpt2` draws normal(0, init_std), scales the two projections whose output is added to the shortcut by
    1/sqrt(2 n_layers), and sets biases to 0 (Radford et al. 2019, section 2.3).

    Raises InputError if the model is larger than the machine's memory.
    """
    _check_memory(config)
    model = empty_gpt(config, attention)
    if init == "book":
        _init_as_the_book(model)
    else:
        _init_as_gpt2(model, init_std)
    return model


def _check_memory(config: GPTConfig) -> None:
    """Raise InputError if the weights alone exceed this machine's memory; allocating them would kill the process."""
    width, copies = config.emb_dim, 1 if config.tie_embeddings else 2
    embeddings = (copies * config.vocab_size + config.context_length) * width
    count = embeddings + config.n_layers * 12 * width**2  # without biases and norms
    needed_gib, memory_gib = (size_bytes / 2**30 for size_bytes in (4 * count, psutil.virtual_memory().total))
    if needed_gib > memory_gib:
        raise InputError(
            f"a model of {count:,} parameters takes {needed_gib:,.0f} GiB, this machine has {memory_gib:,.0f} GiB: "
            "make model.emb_dim, model.n_layers or model.context_length smaller"
        )


def _init_as_the_book(model: GPT) -> None:
    model.wte.reset_parameters()
    model.wpe.reset_parameters()
    for block in cast(Iterable[Block], model.h):
        _init_query_key_value_apart(block.attn.c_attn)
        for layer in (block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            layer.reset_parameters()
        block.ln_1.reset_parameters()
        block.ln_2.reset_parameters()
    model.ln_f.reset_parameters()
    if not model.config.tie_embeddings:
        model.lm_head.reset_parameters()


@torch.no_grad()
def _init_query_key_value_apart(c_attn: nn.Linear) -> None:
    bound = 1 / math.sqrt(c_attn.in_features)  # of nn.Linear's default init, for weight and bias
    weights = c_attn.weight.chunk(3)
    biases = c_attn.bias.chunk(3) if c_attn.bias is not None else (None,) * 3
    for weight, bias in zip(weights, biases, strict=True):
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if bias is not None:
            nn.init.uniform_(bias, -bound, bound)


@torch.no_grad()
def _init_as_gpt2(model: GPT, std: float) -> None:
    residual_std = std / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=residual_std if "c_proj" in name else std)
        elif "ln_" in name and name.endswith("weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.zeros_(parameter)
