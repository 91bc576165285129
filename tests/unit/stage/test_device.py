"""The device that SCRATCHLM_DEVICE names, or one clear error; and whether it is slow in bfloat16."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from scratchlm.errors import InputError
from scratchlm.params.choices import Precision
from scratchlm.stage import device as device_module
from scratchlm.stage.device import autocast, choose_device, find_device, has_bfloat16


def test_the_cpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    assert choose_device().type == "cpu"
    assert capsys.readouterr().out == "device: cpu (SCRATCHLM_DEVICE)\n"


@pytest.mark.parametrize("asked", ["garbage", "meta", "cuda:99", "CPU"])
def test_a_device_that_cannot_be_used_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", asked)
    with pytest.raises(InputError, match=f"SCRATCHLM_DEVICE is {asked!r}, which cannot be used here .*use cpu"):
        choose_device()


def test_each_of_several_processes_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(device_module, "find_any_device", lambda: (torch.device("cuda"), "a GPU"))
    assert find_device() == (torch.device("cuda"), "a GPU")  # set by something other than torchrun
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "ours")
    monkeypatch.setattr(device_module, "find_any_device", lambda: (torch.device("cuda"), "a GPU"))
    assert find_device() == (torch.device("cuda:3"), "a GPU")
    monkeypatch.setattr(device_module, "find_any_device", lambda: (torch.device("cpu"), "no GPU"))
    assert find_device() == (torch.device("cpu"), "no GPU")
    for one in ("cuda:1", "mps"):
        monkeypatch.setattr(device_module, "find_any_device", lambda one=one: (torch.device(one), "SCRATCHLM_DEVICE"))
        with pytest.raises(InputError, match=f"SCRATCHLM_DEVICE is '{one}', which several processes cannot share"):
            find_device()


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_huge_pages_are_requested_unless_the_environment_says_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", before or "")
    if before is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    find_device()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == after


SLOW = (
    "precision: bfloat16 works but is slow, as this processor has neither AVX512_BF16 nor AMX; for speed set precision "
    "to float32 or auto\n"
)
FAST = "precision: bfloat16, as this processor has AVX512_BF16, AMX or ARM's BF16\n"
PLAIN = "precision: float32, as this processor has neither AVX512_BF16 nor AMX\n"


@pytest.mark.parametrize(
    ("precision", "capabilities", "note"),
    [
        ("bfloat16", {"avx2": True, "avx512_bf16": False, "amx_bf16": False}, SLOW),
        ("bfloat16", {"avx2": True, "avx512_bf16": True, "amx_bf16": False}, ""),
        ("bfloat16", {"avx512_bf16": False, "amx_bf16": True}, ""),
        ("bfloat16", {"neon": True, "bf16": True}, ""),
        ("float32", {"avx2": True}, ""),
        ("float32", {"avx512_bf16": True}, ""),
        ("auto", {"avx2": True, "avx512_bf16": False, "amx_bf16": False}, PLAIN),
        ("auto", {"avx2": True, "avx512_bf16": True, "amx_bf16": False}, FAST),
        ("auto", {"neon": True, "bf16": True}, FAST),
    ],
)
def test_the_console_says_what_auto_becomes_and_that_a_processor_is_slow_in_bfloat16(
    precision: Precision,
    capabilities: dict[str, bool],
    note: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    device = choose_device(precision)
    assert capsys.readouterr().out == "device: cpu (SCRATCHLM_DEVICE)\n" + note
    layer = nn.Linear(4, 4)
    with autocast(layer, precision):
        found = layer(torch.zeros(1, 4)).dtype
    fast = precision == "auto" and has_bfloat16(device)
    assert found == (torch.bfloat16 if fast or precision == "bfloat16" else torch.float32)


@pytest.mark.parametrize("found", [True, False])
def test_the_console_says_what_auto_becomes_on_a_gpu(
    found: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device_module, "find_device", lambda: (torch.device("cuda"), "a GPU"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: found)
    choose_device("auto")
    said = "bfloat16, as this GPU has bfloat16" if found else "float32, as this GPU has no bfloat16"
    assert capsys.readouterr().out == f"device: cuda (a GPU)\nprecision: {said}\n"


@pytest.mark.parametrize("found", [True, False])
def test_a_gpu_is_asked_whether_it_has_bfloat16_of_its_own(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or found)
    assert has_bfloat16(torch.device("cuda")) is found
    assert has_bfloat16(torch.device("mps"))  # assumed
