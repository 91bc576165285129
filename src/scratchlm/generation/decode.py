"""Text generation (chapters 4.7 and 5.3): many prompts at once, each token computed once.

Prompts of different lengths are padded on the left; positions count from the first token of each prompt. Finished
rows leave the batch. `generate_uncached` is the book's readable form for one prompt; tests hold both equal.

Shape suffixes as in gpt.py: B batch, T new tokens of a call, S tokens in view, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from scratchlm.errors import InputError
from scratchlm.model.kv_cache import KVCache
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.next_token import draw, likeliest, probabilities
from scratchlm.tokenizer.protocol import Tokenizer

PREFILL_TOKENS = 512


@dataclass(frozen=True)
class Continuation:
    """The new tokens of one prompt, without the end-of-text token."""

    ids: list[int]
    stopped: bool  # at one of `stop_ids`; else a limit of length ended it


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn from the `top_k` likeliest."""

    temperature: float = 0.0
    top_k: int | None = None
    seed: int = 0


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling,
    batch_size: int,
) -> list[Continuation]:
    """Continue every prompt by at most `max_new_tokens`, in the order given.

    A continuation also ends at one of `stop_ids`, or when it fills the model's context; a prompt that fills the context
    alone gets an empty one. Every prompt must have at least one token. Raises InputError as `decode` does.
    """
    continuations: dict[int, Continuation] = {}
    for numbers in batches_by_length(prompts, batch_size):
        batch = continue_batch(model, prompts, numbers, max_new_tokens, stop_ids, sampling)
        continuations.update(zip(numbers, batch, strict=True))
    return [continuations[number] for number in range(len(prompts))]


def batches_by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Group the prompts' numbers into batches of similar lengths, longest first.

    Similar lengths need little padding, and if memory runs out, it does so in the first batch. The last bits of a
    logit may depend on its batch, so the batches depend on the prompts alone.
    """
    by_length = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    return [by_length[start : start + batch_size] for start in range(0, len(prompts), batch_size)]


def continue_batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling,
) -> list[Continuation]:
    """Continue the prompts with these numbers as one batch; otherwise as `generate`."""
    new_ids: list[list[int]] = [[] for _ in numbers]
    stopped: set[int] = set()
    batch = [prompts[number] for number in numbers]
    for row, token in decode(model, batch, max_new_tokens, stop_ids, sampling, numbers):
        if token in stop_ids:
            stopped.add(row)
        else:
            new_ids[row].append(token)
    return [Continuation(ids, row in stopped) for row, ids in enumerate(new_ids)]


def generate_text(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, max_new_tokens: int, sampling: Sampling
) -> str:
    """Continue a text, also beyond end-of-text; return prompt and continuation, decoded from their tokens.

    Raises InputError if the prompt has no tokens.
    """
    ids = tokenizer.encode_ordinary(prompt)
    if not ids:
        raise InputError(f"the prompt {prompt!r} has no tokens to continue: give a text with words in it")
    continuation = generate(model, [ids], max_new_tokens, (), sampling, batch_size=1)[0]
    return tokenizer.decode(ids + continuation.ids)


@torch.no_grad()
def decode(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling,
    numbers: Sequence[int] = (0,),
) -> Iterator[tuple[int, int]]:
    """Yield (row, token) for each new token of a batch of prompts as soon as it is chosen, stops included.

    Each prompt has its own generator, seeded with `sampling.seed` plus its number, so that what is drawn does not
    depend on the batch. Prompt 0 draws what the book's code draws. Raises InputError if the keys and values of the
    batch exceed the machine's memory.
    """
    device = model.device
    context = model.config.context_length
    rows = [row for row, prompt in enumerate(prompts) if len(prompt) < context]
    if not rows:
        return
    generators = [torch.Generator(device).manual_seed(sampling.seed + numbers[row]) for row in rows]
    longest = max(len(prompts[row]) for row in rows)
    shortest = min(len(prompts[row]) for row in rows)
    capacity = min(longest + max_new_tokens, longest + context - shortest)
    check_memory(model, len(rows), capacity, "make generate.batch_size or generate.max_new_tokens smaller")
    cache = model.new_cache(len(rows), capacity)
    logits_BV = prefill(model, [prompts[row] for row in rows], cache)
    padding_B = torch.tensor([longest - len(prompts[row]) for row in rows], device=device)
    columns_S = torch.arange(capacity, device=device)
    ragged, mask = shortest < longest, None
    for n_new in range(1, max_new_tokens + 1):
        token_B = choose(logits_BV, sampling, generators)
        tokens = token_B.tolist()
        yield from zip(rows, tokens, strict=True)
        alive = [
            index
            for index, token in enumerate(tokens)
            if token not in stop_ids and len(prompts[rows[index]]) + n_new < context
        ]
        if not alive or n_new == max_new_tokens:
            return
        if len(alive) < len(rows):
            kept = torch.tensor(alive, device=device)
            rows = [rows[index] for index in alive]
            generators = [generators[index] for index in alive]
            cache.keep_rows(kept)
            token_B, padding_B = token_B[kept], padding_B[kept]
        positions_B1 = (cache.length - padding_B)[:, None]
        if ragged:
            mask = (columns_S[: cache.length + 1] >= padding_B[:, None])[:, None, None]  # [B, 1, 1, S]
        logits_BV = model.head(model.features(token_B[:, None], positions_B1, mask, cache)[:, -1])


def check_memory(model: LanguageModel, n_texts: int, capacity: int, advice: str) -> None:
    """Raise InputError if a cache exceeds this machine's memory; on the CPU, filling it would kill the process."""
    config = model.config
    count = 2 * config.n_layers * n_texts * config.n_cached_heads * capacity * config.head_dim
    size_bytes = count * model.wte.weight.element_size()
    memory_bytes = psutil.virtual_memory().total
    if model.device.type == "cpu" and size_bytes > memory_bytes:  # a GPU's own error says what it lacks
        raise InputError(
            f"keys and values of {n_texts:,} texts of up to {capacity:,} tokens take {size_bytes / 2**30:,.1f} GiB, "
            f"this machine has {memory_bytes / 2**30:,.1f} GiB: {advice}"
        )


def prefill(model: LanguageModel, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """Fill an empty cache with prompts that all end in the same column; return the next tokens' logits, [B, V].

    Neighbouring prompts go through the model together, up to `PREFILL_TOKENS` at a time. Sorted by length they need
    little padding, and the intermediate results stay in the processor's caches.
    """
    longest = max(map(len, prompts))
    features_BD = []
    start = 0
    while start < len(prompts):
        end, width = start + 1, len(prompts[start])
        while end < len(prompts) and (end + 1 - start) * max(width, len(prompts[end])) <= PREFILL_TOKENS:
            width = max(width, len(prompts[end]))
            end += 1
        ids_BT = torch.zeros((end - start, width), dtype=torch.int64)
        for index, prompt in enumerate(prompts[start:end]):
            ids_BT[index, width - len(prompt) :] = torch.tensor(prompt)
        padding_B1 = torch.tensor([[width - len(prompt)] for prompt in prompts[start:end]])
        columns_T = torch.arange(width)
        positions_BT = (columns_T - padding_B1).clamp(min=0)
        mask = None
        if padding_B1.any():
            # Padding sees only itself, so that no row of the softmax is empty.
            visible_BTT = (columns_T[:, None] >= columns_T) & (columns_T >= padding_B1)[:, None]
            mask = (visible_BTT | torch.eye(width, dtype=torch.bool))[:, None].to(model.device)
        part = cache.part(start, end, longest - width)
        features_BTD = model.features(ids_BT.to(model.device), positions_BT.to(model.device), mask, part)
        features_BD.append(features_BTD[:, -1])
        start = end
    cache.length = longest
    return model.head(torch.cat(features_BD))


def choose(logits_BV: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> Tensor:
    """Choose the next token of every row, [B] int64, with one generator per row (chapter 5.3)."""
    if sampling.temperature == 0:
        return likeliest(logits_BV)
    return draw(probabilities(logits_BV, sampling.temperature, sampling.top_k), generators)


@torch.no_grad()
def generate_uncached(
    model: LanguageModel, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = Sampling()
) -> list[int]:
    """Continue one prompt the readable way: every new token takes the whole text through the model."""
    generator = torch.Generator(model.device).manual_seed(sampling.seed)
    ids_1T = torch.tensor([prompt], device=model.device)
    for _ in range(max_new_tokens):
        logits_1V = model(ids_1T[:, -model.config.context_length :])[:, -1]
        ids_1T = torch.cat([ids_1T, choose(logits_1V, sampling, [generator])[:, None]], dim=1)
    return ids_1T[0, len(prompt) :].tolist()
