"""The start that the texts of a batch share: how long it is, and how it is counted."""

from __future__ import annotations

import torch
from tiny_models import EACH, config_of

from scratchlm.model.config import Architecture
from scratchlm.model.init import new_model
from scratchlm.model.kv_cache import SharedStart, n_alike


@torch.no_grad()
@EACH
def test_a_start_is_as_long_as_what_went_through_the_last_block(architecture: Architecture) -> None:
    model = new_model(config_of(architecture, 40, 12, 16, 2, 3), "gpt2").eval()
    start = SharedStart(3)
    x_BTD = model.embed(torch.randint(40, (2, 9)))
    lengths = [start.length]
    model.run_blocks(x_BTD[:1, :4], 1, cache=start)  # the first block is left out, as it is if its output is stored
    lengths.append(start.length)
    model.run_blocks(x_BTD[:, 4:], 1, cache=start)
    lengths.append(start.length)
    assert lengths == [0, 4, 4]


def test_texts_are_alike_up_to_the_first_token_in_which_one_differs() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 8], [5, 6, 9, 8]])
    assert (n_alike(ids), n_alike(ids[:2]), n_alike(ids - ids[:, :1] * torch.arange(3)[:, None])) == (2, 4, 0)
