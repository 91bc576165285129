"""The device that SCRATCHLM_DEVICE names, or one clear line."""

from __future__ import annotations

import pytest

from scratchlm.errors import InputError
from scratchlm.stage.device import choose_device


def test_the_cpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    assert choose_device().type == "cpu"
    assert capsys.readouterr().out == "device: cpu (SCRATCHLM_DEVICE)\n"


@pytest.mark.parametrize("asked", ["garbage", "meta", "cuda:99", "CPU"])
def test_a_device_that_cannot_be_used_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", asked)
    with pytest.raises(InputError, match=f"SCRATCHLM_DEVICE is {asked!r}, which cannot be used here .*use cpu"):
        choose_device()
