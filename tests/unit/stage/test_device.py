"""The device that SCRATCHLM_DEVICE names, or one clear error."""

from __future__ import annotations

import os

import pytest

from scratchlm.errors import InputError
from scratchlm.stage.device import choose_device, find_device


def test_the_cpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    assert choose_device().type == "cpu"
    assert capsys.readouterr().out == "device: cpu (SCRATCHLM_DEVICE)\n"


@pytest.mark.parametrize("asked", ["garbage", "meta", "cuda:99", "CPU"])
def test_a_device_that_cannot_be_used_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", asked)
    with pytest.raises(InputError, match=f"SCRATCHLM_DEVICE is {asked!r}, which cannot be used here .*use cpu"):
        choose_device()


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_huge_pages_are_requested_unless_the_environment_says_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", before or "")
    if before is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    find_device()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == after
