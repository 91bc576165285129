"""The GPT of chapters 3 and 4: one file, its parts in the order in which they are composed.

Shape suffixes: B batch, T tokens of this call, S tokens in view (cache included), D emb_dim, H n_heads,
K head_dim = D / H, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from scratchlm.attention import AttentionKind, MultiHeadAttention
from scratchlm.errors import InputError
from scratchlm.kv_cache import KVCache
from scratchlm.linear import Linear, linear

GPT2_STD = 0.02  # of GPT-2's random start, at widths of 768 and more


Activation = Literal["gelu_tanh", "gelu", "relu"]


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT in the book's names (chapter 4.1), and what it computes with it."""

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    drop_rate: float = 0.0
    qkv_bias: bool = True
    tie_embeddings: bool = True
    activation: Activation = "gelu_tanh"
    shortcuts: bool = True
    attention: AttentionKind = "sdpa"

    @property
    def head_dim(self) -> int:
        return self.emb_dim // self.n_heads


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside (chapter 4.3)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.c_fc = Linear(config.emb_dim, 4 * config.emb_dim)
        self.c_proj = Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.c_proj(activate(self.c_fc(x_BTD), self.activation))  # type: ignore[no-any-return]


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the nonlinearity, any shape (chapter 4.3).

    GPT-2 was trained with the tanh form of GELU; the exact one would change its logits.
    """
    if activation == "relu":
        return F.relu(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class Block(nn.Module):
    """A pre-norm transformer block with two shortcut connections (chapter 4.5).

    Without shortcuts (chapter 4.4) it hardly learns: queries and keys get almost no gradient.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.emb_dim)
        self.attn = MultiHeadAttention(
            config.emb_dim, config.n_heads, config.drop_rate, config.qkv_bias, config.attention
        )
        self.ln_2 = nn.LayerNorm(config.emb_dim)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.drop_rate)
        self.shortcuts = config.shortcuts

    def forward(self, x_BTD: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        attended_BTD = self.dropout(self.attn(self.ln_1(x_BTD), mask, cache, layer))
        x_BTD = x_BTD + attended_BTD if self.shortcuts else attended_BTD
        fed_BTD: Tensor = self.dropout(self.mlp(self.ln_2(x_BTD)))
        return x_BTD + fed_BTD if self.shortcuts else fed_BTD


class GPT(nn.Module):
    """Token ids in, logits of the next token out (chapter 4.6); modules carry GPT-2's own names.

    A tied head is no parameter of its own: the logits are taken with the token embedding.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.emb_dim)
        self.wpe = nn.Embedding(config.context_length, config.emb_dim)
        self.dropout = nn.Dropout(config.drop_rate)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.emb_dim)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.emb_dim, config.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def features(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the final hidden state of every position, [B, T, D].

        `ids_BT` is int64. Without `positions_BT` the tokens count on from the cache. `mask` is bool,
        broadcastable to [B, 1, T, S], True where a token may look; without it, attention is causal.
        """
        start = cache.length if cache is not None else 0
        if positions_BT is None:
            positions_BT = torch.arange(start, start + ids_BT.shape[1], device=ids_BT.device)
        x_BTD = self.dropout(self.wte(ids_BT) + self.wpe(positions_BT))
        for layer, block in enumerate(self.h):
            x_BTD = block(x_BTD, mask, cache, layer)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        return self.ln_f(x_BTD)  # type: ignore[no-any-return]

    def head(self, x_BTD: Tensor) -> Tensor:
        """Turn hidden states into logits, [..., D] to [..., V]."""
        return linear(x_BTD, self.wte.weight if self.config.tie_embeddings else self.lm_head.weight)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of the next token at every position, [B, T, V]."""
        return self.head(self.features(ids_BT))


class _WithoutInit(TorchFunctionMode):
    """Turn torch's own init of layers off, so that parameters are allocated and nothing more."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return None
        return func(*args, **(kwargs or {}))


def empty_gpt(config: GPTConfig) -> GPT:
    """Build a GPT whose parameters are allocated but not set, for a caller that fills every one of them."""
    # On the meta device, which would do as well, torch's init first imports its compiler: a second and 75 MB.
    with _WithoutInit():
        return GPT(config)


def new_gpt(config: GPTConfig, init: Literal["book", "gpt2"], init_std: float = GPT2_STD) -> GPT:
    """Build a GPT with random weights from torch's global generator.

    `book` draws as the book's code does: torch's default init, query, key and value apart, the head last.
    `gpt2` draws normal(0, init_std), the two projections onto the shortcut scaled by 1/sqrt(2 n_layers), biases 0
    (Radford et al. 2019, section 2.3).

    Raises InputError if the model is larger than the machine's memory.
    """
    _check_memory(config)
    model = empty_gpt(config)
    if init == "book":
        _init_as_the_book(model)
    else:
        _init_as_gpt2(model, init_std)
    return model


def _check_memory(config: GPTConfig) -> None:
    """Raise InputError if the weights alone are more than this machine's memory: taking it would kill the process."""
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
    bound = 1 / math.sqrt(c_attn.in_features)  # what nn.Linear's default init comes to, for weight and bias
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


def n_parameters(model: nn.Module) -> int:
    """Count the parameters, each shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())
