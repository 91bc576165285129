"""Inside a trained model: attention, next-token probabilities, gradients by block, neighbouring embeddings, positions.

Shape suffixes as in gpt.py: B batch, T tokens, D emb_dim, H n_heads, V vocab_size; L blocks, N temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scratchlm.anatomy.formulas import gradient_means
from scratchlm.errors import InputError
from scratchlm.model.attention import MultiHeadAttention, attention_weights, for_each_query_head
from scratchlm.model.config import GPTConfig, Init, ModelConfig
from scratchlm.model.gpt import GPT, Block
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.llama import GroupedQueryAttention, Llama, LlamaBlock
from scratchlm.model.next_token import probabilities
from scratchlm.tokenizer.pieces import token_label
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.loss import count_targets, next_token_loss

LEARNING_RATE = 1e-3  # of the few steps before gradients are measured
LIKELIEST = 10  # tokens that are shown
STEPS = 10  # of training on one window: enough to show the effect of missing shortcuts
WINDOW = 128  # most tokens of that window: takes seconds on a CPU even for 124M parameters
POSITIONS = 256  # the most whose vectors are shown: what one can see in a picture
NEIGHBOURS = 5  # nearest tokens that are shown, of each of the first
WITH_NEIGHBOURS = 8  # different tokens of a text
SMALLEST = torch.finfo(torch.float32).tiny  # replaces a gradient that float32 rounded to 0


@torch.no_grad()
def attention_maps(model: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Return the attention weights of every head of every block, [L, H, T, T] (chapters 3.5 and 3.6).

    Row t holds the weights of token t; it sums to 1 and is 0 right of t. They are the weights that the blocks use to
    compute the logits, whatever `model.attention` is. In a Llama, queries and keys are turned first, and heads of the
    same group have the same keys.
    Raises InputError if the text has no token, or more than the model can see.
    """
    maps_HTT = []
    ours = get_ident()

    def keep(attention: nn.Module, inputs: tuple[Any, ...]) -> None:
        if get_ident() != ours:
            return  # another thread generates with the same model
        *given, _mask, _cache = inputs  # the tokens and, in a Llama, the rotation of their positions
        q, k, _ = cast(MultiHeadAttention | GroupedQueryAttention, attention).queries_keys_values(*given)
        maps_HTT.append(attention_weights(q, for_each_query_head(k, q.shape[1]))[0])

    ids_1T = _one_row(model, ids)
    hooks = [block.attn.register_forward_pre_hook(keep) for block in cast(Iterable[Block | LlamaBlock], model.h)]
    try:
        model.features(ids_1T)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps_HTT)


@torch.no_grad()
def next_token_probabilities(model: LanguageModel, ids: Sequence[int], temperatures: Sequence[float]) -> Tensor:
    """Return the probabilities of the token after `ids` at each temperature, [N, V] (chapter 5.3.1).

    Raises InputError if the text has no token, or more than the model can see.
    """
    logits_1V = model.head(model.features(_one_row(model, ids))[:, -1])
    return torch.cat([probabilities(logits_1V, temperature) for temperature in temperatures])


@dataclass(frozen=True)
class NextToken:
    """The likeliest next tokens, and last all others together, with their probabilities at each temperature."""

    labels: list[str]
    temperatures: list[float]
    probabilities: list[list[float]]  # per temperature, one per label
    entropy: float  # in nats, at temperature 1

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per temperature and token, for `write_table`."""
        return [
            {"token": label, "temperature": temperature, "probability": probability}
            for temperature, row in zip(self.temperatures, self.probabilities, strict=True)
            for label, probability in zip(self.labels, row, strict=True)
        ]


def expect_next_token(
    model: LanguageModel, tokenizer: Tokenizer, ids: Sequence[int], temperatures: list[float]
) -> NextToken:
    """Return the probabilities of the ten likeliest tokens after `ids` at each temperature (chapter 5.3.1).

    Raises InputError as `next_token_probabilities` does.
    """
    natural, *warmed = next_token_probabilities(model, ids, [1.0, *temperatures]).cpu()
    likeliest = natural.topk(min(LIKELIEST, len(natural))).indices
    labels = [*token_labels(tokenizer, likeliest.tolist()), f"{len(natural) - len(likeliest):,} others"]
    shown = [[*row[likeliest].tolist(), max(0.0, 1 - row[likeliest].sum().item())] for row in warmed]
    return NextToken(labels, temperatures, shown, entropy(natural))


def entropy(probabilities_V: Tensor) -> float:
    """Return the entropy of a distribution in nats; 0 if one token is certain, log(V) if all are equally likely."""
    return float(torch.special.entr(probabilities_V.double()).sum())


def block_gradients(model: LanguageModel, inputs_BT: Tensor, targets_BT: Tensor, after_steps: int = 0) -> list[float]:
    """Return the mean absolute gradient of each block's weight matrices on a batch, first block first (chapter 4.4).

    Before that, `model` is trained on the batch for `after_steps` steps. Inputs and targets are [B, T] int64.

    A new GPT without shortcuts does not show vanishing gradients: its layer norms scale up what each block shrinks
    (without the norms, gradients vanish at once). After ten steps they have vanished, by 1.5 powers of ten over
    4 blocks of width 128, by 12 over the 12 blocks of the 124M shape.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    for step in range(after_steps + 1):
        optimizer.zero_grad()
        batch = (inputs_BT, targets_BT)
        (next_token_loss(model, batch) / count_targets(batch)).backward()  # type: ignore[no-untyped-call]
        if step < after_steps:
            optimizer.step()
    means = gradient_means(cast(Iterable[nn.Module], model.h))
    optimizer.zero_grad()
    return means


def compare_gradients(
    model: LanguageModel, example: tuple[Tensor, Tensor], seed: int, init: Init, init_std: float
) -> dict[str, list[float]]:
    """Return the gradients of every block on one example, for new models with and without shortcuts, and for `model`.

    New models are measured before training (`new_...`) and after ten steps. A Llama always has shortcuts, so there is
    none without. `example` is inputs and targets, each [T] int64; only the first 128 are used.
    """
    inputs_1T, targets_1T = (part[None, :WINDOW] for part in example)
    config = model.config
    shapes: dict[str, ModelConfig] = {"with_shortcuts": config}
    if isinstance(config, GPTConfig):
        shapes = {f"{word}_shortcuts": replace(config, shortcuts=word == "with") for word in ("with", "without")}
    gradients = {}
    for name, shape in shapes.items():
        torch.manual_seed(seed)  # the same weights for both
        new = new_model(shape, init, init_std).to(model.device)
        gradients[f"new_{name}"] = block_gradients(new, inputs_1T, targets_1T)
        gradients[name] = block_gradients(new, inputs_1T, targets_1T, after_steps=STEPS)
    return {**gradients, "trained": block_gradients(model, inputs_1T, targets_1T)}


def gradient_rows(gradients: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return one row per block, the one next to the embeddings first, for `write_table`."""
    rows = zip(*gradients.values(), strict=True)
    return [{"block": block, **dict(zip(gradients, row, strict=True))} for block, row in enumerate(rows, 1)]


def decades(gradients: Sequence[float]) -> float:
    """Return log10 of the first block's gradient over the last block's; far below 0 if gradients vanish."""
    first, last = (max(gradient, SMALLEST) for gradient in (gradients[0], gradients[-1]))
    return math.log10(first / last)


@torch.no_grad()
def nearest_embeddings(model: LanguageModel, ids: Sequence[int], n: int) -> tuple[Tensor, Tensor]:
    """Return the cosine similarities of the `n` nearest other token embeddings of each token, and their ids.

    Both are [T, n], the nearest first (chapter 2.7).
    """
    ids_T = torch.tensor(ids, device=model.device)
    directions_VD = normalize(model.wte.weight.float(), dim=-1)
    cosines_TV = directions_VD[ids_T] @ directions_VD.T
    cosines_TV[torch.arange(len(ids)), ids_T] = -torch.inf  # not the token itself
    nearest = cosines_TV.topk(n)
    return nearest.values, nearest.indices


def neighbour_rows(model: LanguageModel, tokenizer: Tokenizer, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the five nearest embeddings of the first eight different tokens, a row each, for `write_table`."""
    tokens = list(dict.fromkeys(ids))[:WITH_NEIGHBOURS]
    nearest = nearest_embeddings(model, tokens, min(NEIGHBOURS, model.config.vocab_size - 1))
    return [
        {"token": token_label(tokenizer, token), "neighbour": token_label(tokenizer, neighbour), "cosine": cosine}
        for token, *found in zip(tokens, *(part.tolist() for part in nearest), strict=True)
        for cosine, neighbour in zip(*found, strict=True)
    ]


class Positions(NamedTuple):
    """What tells a model where a token stands: a vector for each position, [T, N] float32, and what its numbers are."""

    vectors_TN: Tensor
    numbers: str


def positions_of(model: LanguageModel) -> Positions:
    """Return the vectors of a model's first 256 positions.

    In a GPT they are what it learned to add to the embeddings of tokens, and N is D (chapter 2.8). In a Llama they are
    the cosines of the angles by which it turns the pairs of a head, and then their sines: N is K. The cosine between
    two such vectors is that between a vector with the same length in all pairs, turned to the one position, and the
    same turned to the other: so far can a query match a key (Su et al. 2021, section 3.4.3).
    """
    n_positions = min(model.config.context_length, POSITIONS)
    if isinstance(model, Llama):
        angles = model.rotation_of(n_positions)
        return Positions(torch.cat(angles, dim=-1), f"the cosines and sines of {angles.cos.shape[-1]} angles")
    learned_TD = cast(GPT, model).wpe.weight[:n_positions].detach().float()
    return Positions(learned_TD, f"{learned_TD.shape[-1]} learned numbers each")


def token_labels(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Return the label of each token."""
    return [token_label(tokenizer, token) for token in ids]


def _one_row(model: LanguageModel, ids: Sequence[int]) -> Tensor:
    context = model.config.context_length
    if not 0 < len(ids) <= context:
        raise InputError(
            f"the text has {len(ids)} tokens, this model takes 1 to {context}: give a "
            f"{'shorter' if ids else 'longer'} text (visualize.text in params.yaml)"
        )
    return torch.tensor([list(ids)], device=model.device)
