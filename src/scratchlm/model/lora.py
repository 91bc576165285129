"""LoRA (appendix E): small matrices trained beside frozen linear layers, and merged into them when a model is saved.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". Shape suffixes: I inputs and O outputs of a
layer, P the layers in one, R their rank: P layers have P pairs of matrices, A side by side in [I, P*R] and B in [R, O].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from scratchlm.errors import InputError
from scratchlm.model.init import WithoutInit
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.linear import Linear, linear


class LowRank(nn.Module):
    """What LoRA adds to the output of a linear layer: scale * (x A) B, nothing before the first step, as B is 0.

    A is drawn as the book's code does: torch's default for a linear layer, whose bound is 1/sqrt(R) for this shape.
    """

    def __init__(self, layer: Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.n_parts, self.scale = layer.n_parts, scale
        empty = layer.weight.new_empty
        drawn = [nn.init.kaiming_uniform_(empty(layer.in_features, rank), a=math.sqrt(5)) for _ in range(layer.n_parts)]
        self.A = nn.Parameter(torch.cat(drawn, dim=1))
        self.B = nn.Parameter(empty(rank, layer.out_features).zero_())

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to the layer's output, [..., I] to [..., O]."""
        return linear(self.scale * linear(x, self.A.T), self.apart().T)

    def product(self) -> Tensor:
        """Return what would have to be added to the layer's weight for the same output, [O, I]."""
        return self.scale * (self.A @ self.apart()).T

    def apart(self) -> Tensor:
        """Return B with a row for each column of A, and 0 where they belong to different layers: [P*R, O]."""
        return torch.block_diag(*self.B.chunk(self.n_parts, dim=1))  # type: ignore[no-any-return, no-untyped-call]


def add_lora(model: nn.Module, trained: Iterable[nn.Module], rank: int, scale: float) -> None:
    """Freeze `model` and add matrices to be trained to every linear layer in its modules `trained`, in this order.

    Draws A from torch's global generator, and changes no output before the first step. A layer may have fewer outputs
    than `rank`, as a classifier's head has. Raises InputError if one has fewer inputs.
    """
    layers = [layer for part in trained for layer in part.modules() if isinstance(layer, Linear)]
    narrowest = min(layer.in_features for layer in layers)
    if rank > narrowest:
        raise InputError(
            f"lora_rank is {rank}, but this model has layers of {narrowest} inputs, whose weights have no higher rank "
            f"than that: set it to {narrowest} or less (usual are 4 to 64)"
        )
    model.requires_grad_(False)
    for layer in layers:
        layer.lora = LowRank(layer, rank, scale)


def untied_head(model: LanguageModel) -> Linear:
    """Return the output head; a tied one becomes a layer that may learn apart from the token embedding.

    Until then both have one weight in memory.
    """
    if model.config.tie_embeddings:
        with WithoutInit():
            model.lm_head = Linear(model.config.emb_dim, model.config.vocab_size, bias=False)
        model.lm_head.weight = model.wte.weight
        model.config = replace(model.config, tie_embeddings=False)
    return model.lm_head


class Computed(Mapping[str, Tensor]):
    """Tensors by name, each of which is computed whenever it is asked for: all at once may be too large for memory."""

    def __init__(self, names: Iterable[str], compute: Callable[[str], Tensor]) -> None:
        self.names, self.compute = dict.fromkeys(names), compute

    def __getitem__(self, name: str) -> Tensor:
        return self.compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def merged_state(module: nn.Module) -> Mapping[str, Tensor]:
    """Return the `state_dict` of a module as if it had been trained without LoRA, with the same output.

    The module stays as it is, so that its training can go on. Without LoRA this is its `state_dict`.
    """
    state: dict[str, Tensor] = dict(module.state_dict())
    added: dict[str, LowRank] = {}
    for name, part in module.named_modules():
        if isinstance(part, LowRank):
            del state[f"{name}.A"], state[f"{name}.B"]
            added[name.removesuffix("lora") + "weight"] = part

    @torch.no_grad()
    def merged(name: str) -> Tensor:
        return state[name] + added[name].product() if name in added else state[name]

    return Computed(state, merged)
