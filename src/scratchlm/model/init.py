"""The initial weights of a model: unset, random as in the book, or random as in GPT-2."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, cast

import psutil
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from scratchlm.errors import InputError
from scratchlm.model.config import AttentionKind, GPTConfig, Init, LlamaConfig, ModelConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.linear import Linear
from scratchlm.model.llama import Llama, RMSNorm

RESIDUAL = re.compile(r"\.(c_proj|o_proj|down_proj)\.")  # the layers whose output is added to the shortcut
GPT2_STD = 0.02  # of GPT-2's initial weights, at widths of 768 and more


class WithoutInit(TorchFunctionMode):
    """Turn off torch's init of layers: parameters are allocated but not filled."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return None
        return func(*args, **(kwargs or {}))


def model_of(config: ModelConfig, attention: AttentionKind = "sdpa") -> LanguageModel:
    """Build the model that a configuration describes, with torch's default weights."""
    return Llama(config, attention) if isinstance(config, LlamaConfig) else GPT(cast(GPTConfig, config), attention)


def empty_model(config: ModelConfig, attention: AttentionKind = "sdpa") -> LanguageModel:
    """Build a model whose parameters are allocated but not filled; the caller must fill all of them."""
    # The meta device would work too, but there torch's init imports its compiler: a second and 75 MB.
    with WithoutInit():
        return model_of(config, attention)


def new_model(
    config: ModelConfig, init: Init, init_std: float = GPT2_STD, attention: AttentionKind = "sdpa"
) -> LanguageModel:
    """Build a model with random weights from torch's global generator.

    `book` draws as the book's code does: torch's default init, with query, key and value drawn separately and the
    head last. `gpt2` draws normal(0, init_std), scales the two projections whose output is added to the shortcut by
    1/sqrt(2 n_layers), and sets biases to 0 (Radford et al. 2019, section 2.3).

    Raises InputError if the model is larger than the machine's memory.
    """
    _check_memory(config)
    model = empty_model(config, attention)
    if init == "book":
        _init_as_the_book(model)
    else:
        _init_as_gpt2(model, init_std)
    return model


def _check_memory(config: ModelConfig) -> None:
    """Raise InputError if the weights alone exceed this machine's memory; allocating them would kill the process."""
    width, copies = config.emb_dim, 1 if config.tie_embeddings else 2
    if isinstance(config, LlamaConfig):
        n_vectors = copies * config.vocab_size
        block = 2 * width * (width + config.n_kv_heads * config.head_dim) + 3 * width * config.hidden_dim
        third = "hidden_dim"
    else:
        n_vectors = copies * config.vocab_size + config.context_length
        block = 12 * width**2
        third = "context_length"
    count = n_vectors * width + config.n_layers * block  # without biases and norms
    needed_gib, memory_gib = (size_bytes / 2**30 for size_bytes in (4 * count, psutil.virtual_memory().total))
    if needed_gib > memory_gib:
        raise InputError(
            f"a model of {count:,} parameters takes {needed_gib:,.0f} GiB, this machine has {memory_gib:,.0f} GiB: "
            f"make model.emb_dim, model.n_layers or model.{third} smaller"
        )


def _init_as_the_book(model: LanguageModel) -> None:
    for part in model.modules():  # in the order in which the book's code makes them, the head last
        if isinstance(part, Linear) and part.n_parts == 3:
            _init_query_key_value_apart(part)
        elif isinstance(part, (nn.Embedding, nn.Linear, nn.LayerNorm)):
            part.reset_parameters()
        elif isinstance(part, RMSNorm):
            nn.init.ones_(part.weight)


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
def _init_as_gpt2(model: LanguageModel, std: float) -> None:
    residual_std = std / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=residual_std if RESIDUAL.search(name) else std)
        elif "ln_" in name and name.endswith("weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.zeros_(parameter)
