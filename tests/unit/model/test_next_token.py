"""Rows with settings of their own get what they get alone, to the last bit."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.model.next_token import draw, probabilities, probabilities_by_row

ROWS = st.lists(st.tuples(st.sampled_from([0.01, 0.8, 1.0, 3.0]), st.none() | st.integers(1, 40)), min_size=1)


@given(ROWS, st.integers(0, 99))
def test_every_row_has_its_own_temperature_and_top_k(rows: list[tuple[float, int | None]], seed: int) -> None:
    logits_BV = torch.randn(len(rows), 33, generator=torch.Generator().manual_seed(seed)) * 5
    logits_BV[:, 7] = logits_BV[:, 8]
    together = probabilities_by_row(logits_BV, *map(list, zip(*rows, strict=True)))  # type: ignore[arg-type]
    alone = [probabilities(logits_BV[[row]], *setting) for row, setting in enumerate(rows)]
    assert torch.equal(together, torch.cat(alone))


def test_drawing_is_torchs_own_row_by_row() -> None:
    probabilities_BV = (torch.randn(6, 500, generator=torch.Generator().manual_seed(1)) * 3).softmax(-1)
    ours, torchs = ([torch.Generator().manual_seed(row) for row in range(6)] for _ in range(2))
    drawn = torch.stack([draw(probabilities_BV, ours) for _ in range(50)], dim=1)
    for row, generator in enumerate(torchs):
        expected = [torch.multinomial(probabilities_BV[row], 1, generator=generator) for _ in range(50)]
        assert drawn[row].tolist() == torch.cat(expected).tolist()
    assert len(drawn.unique()) > 50
