"""The token after a text: the distribution from which generation draws it (chapter 5.3), and a table of that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scratchlm.generation.decode import Sampling, prefill
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.next_token import probabilities
from scratchlm.tokenizer.pieces import token_label
from scratchlm.tokenizer.protocol import Tokenizer

BAR = 40  # columns of a probability of 1
EIGHTHS = " ▏▎▍▌▋▊▉"  # the block characters, from none to seven eighths of a column


def expect_token(model: LanguageModel, ids: Sequence[int], sampling: Sampling) -> Tensor:
    """Return the probabilities from which `generate` draws the token after `ids`, [V] float32 on the CPU.

    At temperature 0 the likeliest token has all. There must be at least one id, and no more than the model can see.
    """
    return expect_token_of_each(model, ids, [sampling])[0]


@torch.no_grad()
def expect_token_of_each(model: LanguageModel, ids: Sequence[int], samplings: Sequence[Sampling]) -> list[Tensor]:
    """Return what `expect_token` returns for each of some samplings; the model reads the text once."""
    logits_1V = prefill(model, [ids], model.new_cache(1, len(ids)))
    return [probabilities(logits_1V, sampling.temperature, sampling.top_k)[0].cpu() for sampling in samplings]


def describe_expected(tokenizer: Tokenizer, probabilities_V: Tensor, n_rows: int) -> str:
    """Return a table of the likeliest tokens with a bar each, and how much is left for how many others.

    Tokens that cannot be drawn are left out. Lines have at most 80 columns.
    """
    sorted_V = probabilities_V.double().sort(descending=True, stable=True)
    n_possible = int((probabilities_V > 0).sum())
    n_shown = min(n_rows, n_possible)
    shown = [(float(sorted_V.values[row]), int(sorted_V.indices[row])) for row in range(n_shown)]
    rows = [(str(token), probability, token_label(tokenizer, token)) for probability, token in shown]
    if n_possible > n_shown:
        rows.append(("", max(0.0, 1 - sum(row[1] for row in rows)), f"{n_possible - n_shown:,} others"))
    width = max(len("id"), *(len(row[0]) for row in rows))
    lines = [f"{'id':>{width}}  probability  {'':{BAR}}  piece"]
    for token, probability, piece in rows:
        lines.append(f"{token:>{width}}  {100 * probability:9.2f} %  {bar(probability):{BAR}}  {piece}")
    return "\n".join(lines) + "\n"


def bar(fraction: float) -> str:
    """Return a bar of block characters, `BAR` columns for 1, rounded to an eighth of a column."""
    full, eighths = divmod(round(fraction * BAR * 8), 8)
    return ("█" * full + EIGHTHS[eighths]).rstrip()
