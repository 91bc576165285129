"""A wrong setting of the machine ends a training before it computes anything, and leaves no snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shared_trainings

from scratchlm.assistant import tuning
from scratchlm.classifier import finetune
from scratchlm.errors import InputError
from scratchlm.training import fit as fitting
from scratchlm.training import shares

TRAININGS = pytest.mark.parametrize(
    "training",
    [
        lambda folder, changes: shared_trainings.fit(folder, "windows", changes),
        shared_trainings.classify,
        shared_trainings.prefer,
    ],
    ids=["fit", "classify", "prefer"],
)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings of `shared_trainings` set where snapshots are."""
    for module in (fitting, finetune, tuning):
        monkeypatch.setattr(module, "open_snapshots", module.open_snapshots)


@TRAININGS
@pytest.mark.parametrize("name", ["COMPILE", "SHARD", "MICRO_BATCH"])
def test_a_wrong_setting_is_refused_first(
    name: str, training: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SCRATCHLM_{name}", "yes")
    with pytest.raises(InputError, match=f"SCRATCHLM_{name} is 'yes'"):
        training(str(tmp_path), {})
    assert not list(tmp_path.iterdir())


@TRAININGS
def test_a_batch_that_cannot_be_shared_is_refused_first(
    training: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "n_processes", lambda: 2)
    with pytest.raises(InputError, match="batch_size is 3, which 2 processes cannot share evenly"):
        training(str(tmp_path), {"batch_size": 3})
    assert not list(tmp_path.iterdir())
