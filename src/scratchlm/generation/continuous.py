"""Continuous batching: prompts that join and leave a batch while it runs (Yu et al. 2022, Orca, section 4).

`decode.py` continues a batch from its beginning to its end. Here every row of the cache begins in its first column and
has a length of its own, so that a row comes and goes without moving the others: the rows that run are the first ones,
and the last of them takes the place of one that leaves.

Shape suffixes as in gpt.py: B rows, T tokens of a call, S tokens in view, V vocab_size, R rows of some kind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import psutil
import torch
from torch import Tensor

from scratchlm.generation.decode import Sampling
from scratchlm.model.kv_cache import KVCache
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.next_token import draw, likeliest, probabilities_by_row

# Tokens of prompts between two steps of the rows that run. With GPT-2 124M on one thread, beside other work, 700 tokens
# held the others up for at most 0.17 s with 128, 0.29 s with 256 and 0.57 s with 512; with 128 they took 1.1 times as
# long in all. Short prompts are read faster together than one by one.
READ_TOKENS = 256


@dataclass(frozen=True)
class Request:
    """A prompt to continue."""

    ids: tuple[int, ...]  # at least one, and fewer than the batch's context
    max_new_tokens: int  # at least one; the batch's context may end it earlier
    stop_ids: frozenset[int]
    sampling: Sampling
    n_logprobs: int | None = None  # how many likeliest tokens come with each new one; None: no logarithms at all


@dataclass(frozen=True)
class NewToken:
    """A token of an answer, never one of `stop_ids`."""

    id: int
    logprob: float | None = None  # of the model's own distribution, at temperature 1
    likeliest: tuple[tuple[int, float], ...] = ()  # (id, logprob) of `n_logprobs` tokens, likeliest first


Finish = Literal["stop", "length"]  # one of `stop_ids`; a limit of tokens


class Row:
    """A request in a batch."""

    def __init__(self, request: Request, context: int, device: torch.device) -> None:
        self.request = request
        self.generator = torch.Generator(device).manual_seed(request.sampling.seed)
        self.n_cached = 0  # tokens whose keys and values are in the cache
        self.n_left = min(request.max_new_tokens, context - len(request.ids))


class News(NamedTuple):
    """What came of a row: a token, the end of its answer, or both. With the end the row has left the batch."""

    row: Row
    token: NewToken | None
    finish: Finish | None


class RunningBatch:
    """A batch of up to `n_rows` requests, each continued as `decode` continues it alone.

    Its memory grows with the longest row, up to `n_rows` texts of `context` tokens: as long as the model's own context,
    or as fit into this machine's memory.
    """

    def __init__(self, model: LanguageModel, n_rows: int) -> None:
        self.model = model
        self.n_rows = n_rows
        self.context = longest_fitting(model, n_rows)
        self.joining: list[Row] = []  # not yet read to the end, in order of arrival
        self.running: list[Row] = []  # number i has row i of the cache
        self._begun: KVCache | None = None  # of the first of `joining`, if its prompt takes several calls of `read`
        self._cache = model.new_cache(n_rows, 0)
        self._last_B = torch.zeros(0, dtype=torch.int64, device=model.device)  # tokens that were not yet read
        self._length_B = torch.zeros_like(self._last_B)  # the rows' `n_cached`

    def admit(self, request: Request) -> Row:
        """Let a request join, if there is a row left; `read` reads its prompt."""
        assert len(self.joining) + len(self.running) < self.n_rows
        row = Row(request, self.context, self.model.device)
        self.joining.append(row)
        return row

    @property
    def reading(self) -> list[Row]:
        """The rows whose prompts `read` reads next."""
        width = 0
        for n_together, row in enumerate(self.joining):
            width = max(width, len(row.request.ids))
            if n_together and (self._begun is not None or width * (n_together + 1) > READ_TOKENS):
                return self.joining[:n_together]
        return self.joining[:]

    @torch.inference_mode()
    def read(self) -> list[News]:
        """Read prompts that join, up to `READ_TOKENS`; return the first new token of those that were read to the end.

        So a long prompt is read in parts, and rows that run wait for one part at most. Short ones are read together.
        """
        rows = self.reading
        if not rows:
            return []
        n_together, width = len(rows), max(len(row.request.ids) for row in rows)
        cache = self._begun or self.model.new_cache(n_together, width)
        end = min(width, cache.length + READ_TOKENS)
        parts = [row.request.ids[cache.length : end] for row in rows]
        # Padded on the right, where no token of a prompt looks.
        ids_RT = torch.tensor([[*ids, *[0] * (end - cache.length - len(ids))] for ids in parts])
        features_RTD = self.model.features(ids_RT.to(self.model.device), cache=cache)
        if cache.length < width:
            self._begun = cache
            return []
        ends_R = torch.tensor([len(ids) - 1 for ids in parts], device=self.model.device)
        logits_RV = self.model.head(features_RTD[torch.arange(n_together, device=self.model.device), ends_R])
        self._make_room(width)
        first = len(self.running)
        self._cache.keys[:, first : first + n_together, :, :width] = cache.keys
        self._cache.values[:, first : first + n_together, :, :width] = cache.values
        self._begun = None
        for row in rows:
            row.n_cached = len(row.request.ids)
        lengths = [row.n_cached for row in rows]
        self._length_B = torch.cat([self._length_B, torch.tensor(lengths, device=self.model.device)])
        del self.joining[:n_together]
        self.running += rows
        return self._take(logits_RV, first)

    @torch.inference_mode()
    def step(self) -> list[News]:
        """Continue every row that runs by one token."""
        if not self.running:
            return []
        longest = max(row.n_cached for row in self.running)
        self._make_room(longest + 1)
        cache, mask = self._cache.part(0, len(self.running), 0), None
        cache.length = longest
        if any(row.n_cached < longest for row in self.running):
            cache.columns = self._length_B[:, None, None, None]
            mask = torch.arange(longest + 1, device=self.model.device) <= cache.columns  # [B, 1, 1, S]
        features_B1D = self.model.features(self._last_B[:, None], self._length_B[:, None], mask, cache)
        self._length_B = self._length_B + 1
        for row in self.running:
            row.n_cached += 1
        return self._take(self.model.head(features_B1D[:, 0]), 0)

    @torch.inference_mode()
    def drop(self, rows: Collection[Row]) -> None:
        """Free the places of rows at once."""
        if self.joining and self.joining[0] in rows:
            self._begun = None
        self.joining = [row for row in self.joining if row not in rows]
        kept = [index for index, row in enumerate(self.running) if row not in rows]
        if len(kept) == len(self.running):
            return
        # The last rows fill the gaps.
        gaps = [index for index in range(len(kept)) if self.running[index] in rows]
        moved = kept[len(kept) - len(gaps) :]
        order = list(range(len(kept)))
        for gap, index in zip(gaps, moved, strict=True):
            order[gap] = index
        if gaps:
            longest = max(self.running[index].n_cached for index in moved)
            for stored in (self._cache.keys, self._cache.values):
                stored[:, gaps, :, :longest] = stored[:, moved, :, :longest]
        self.running = [self.running[index] for index in order]
        self._last_B, self._length_B = self._last_B[order], self._length_B[order]

    def _take(self, logits_RV: Tensor, first: int) -> list[News]:
        """Choose a token for each row from number `first` on; rows that end leave."""
        rows = self.running[first:]
        token_R = choose_by_row(logits_RV, rows)
        self._last_B = torch.cat([self._last_B[:first], token_R])
        news: list[News] = []
        for row, token in zip(rows, new_tokens(logits_RV, token_R, rows), strict=True):
            row.n_left -= 1
            if token.id in row.request.stop_ids:
                news.append(News(row, None, "stop"))
            else:
                news.append(News(row, token, None if row.n_left else "length"))
        self.drop([row for row, _, finish in news if finish])
        return news

    def _make_room(self, n_columns: int) -> None:
        """Make the cache at least so wide."""
        old = self._cache
        if n_columns <= old.keys.shape[3]:
            return
        capacity = min(2 * n_columns, self.context)
        self._cache = self.model.new_cache(self.n_rows, capacity)
        self._cache.keys[:, :, :, : old.keys.shape[3]] = old.keys
        self._cache.values[:, :, :, : old.keys.shape[3]] = old.values


def longest_fitting(model: LanguageModel, n_texts: int) -> int:
    """Return how many tokens texts in one cache may have: the model's context, or fewer if memory holds no more.

    On the CPU, filling more would kill the process; a GPU's own error says what it lacks.
    """
    context = model.config.context_length
    if model.device.type != "cpu":
        return context
    column = model.new_cache(n_texts, 1)
    memory_bytes: int = psutil.virtual_memory().total
    return min(context, memory_bytes // (column.keys.nbytes + column.values.nbytes))


def choose_by_row(logits_RV: Tensor, rows: Sequence[Row]) -> Tensor:
    """Choose the next token of every row as its sampling says, [R] int64."""
    token_R = likeliest(logits_RV)
    drawing = [number for number, row in enumerate(rows) if row.request.sampling.temperature > 0]
    if drawing:
        samplings = [rows[number].request.sampling for number in drawing]
        temperatures = [sampling.temperature for sampling in samplings]
        top_ks = [sampling.top_k for sampling in samplings]
        probabilities_RV = probabilities_by_row(logits_RV[drawing], temperatures, top_ks)
        token_R[drawing] = draw(probabilities_RV, [rows[number].generator for number in drawing])
    return token_R


def new_tokens(logits_RV: Tensor, token_R: Tensor, rows: Sequence[Row]) -> list[NewToken]:
    """Return the chosen tokens, with logarithms of probabilities for the rows that want them."""
    tokens = [NewToken(token) for token in token_R.tolist()]
    wanted = {number: n for number, row in enumerate(rows) if (n := row.request.n_logprobs) is not None}
    if wanted:
        logprobs_RV = logits_RV[list(wanted)].float().log_softmax(dim=-1)
        chosen = logprobs_RV.gather(1, token_R[list(wanted), None])[:, 0].tolist()
        top = logprobs_RV.topk(min(max(wanted.values()), logprobs_RV.shape[-1]))
        each = zip(wanted.items(), chosen, top.indices.tolist(), top.values.tolist(), strict=True)
        for (number, n), logprob, ids, values in each:
            tokens[number] = NewToken(tokens[number].id, logprob, tuple(zip(ids, values, strict=True))[:n])
    return tokens
