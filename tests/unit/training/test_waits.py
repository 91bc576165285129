"""A step does not wait for the device; only every tenth one reads its values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny_trainings import instructions, messages, pairs, settings_in_parts, windows

from scratchlm.model import head_loss
from scratchlm.training.guard import LOOK_EVERY
from scratchlm.training.loop import Training

TRAININGS = pytest.mark.parametrize("made", [windows, messages, instructions, pairs])


@TRAININGS
def test_of_ten_steps_only_the_last_one_reads_values_of_the_device(made: Any) -> None:
    """On the meta device nothing can be read, so whatever waits for a value fails there."""
    model, loss, batches = made(0.1)
    model.to("meta").train()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)  # the fused one does not know this device
    run = Training(model, loss, batches, settings_in_parts(1), "test", None, optimizer)
    del optimizer.found_inf  # type: ignore[attr-defined] # of fused ones alone
    batch = next(iter(batches.train))
    for _ in range(LOOK_EVERY - 1):
        run.update(batch)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        run.update(batch)
    assert run.state.steps == LOOK_EVERY - 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@TRAININGS
@pytest.mark.parametrize("at_once", [1 << 28, 8 * 40], ids=["together", "in parts"])
def test_on_a_gpu_a_step_makes_the_cpu_wait_only_every_tenth_time(
    made: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_loss, "LOGITS_AT_ONCE", at_once)
    model, loss, batches = made(0.1)
    run = Training(model.to("cuda").train(), loss, batches, settings_in_parts(4, "bfloat16"), "test", None)
    batch = next(iter(batches.train))
    waits = []
    for step in range(3 * LOOK_EVERY):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first step fills the caches of torch
        try:
            run.update(batch)
        except RuntimeError as error:
            assert "synchroniz" in str(error)
            waits.append(step)
            torch.cuda.set_sync_debug_mode("default")
            run.guard.check()
    torch.cuda.set_sync_debug_mode("default")
    assert len(waits) <= 3 and all(later - earlier >= LOOK_EVERY - 1 for earlier, later in pairwise(waits))
