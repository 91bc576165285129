"""Safetensors files are the library's to the byte, and writing one takes no second copy of a model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scratchlm.errors import InputError
from scratchlm.files.tensors import DTYPES, save_tensors

MIB = 2**20


def test_a_file_has_the_librarys_bytes(tmp_path: Path) -> None:
    tensors = {f"{name}.{dtype}": torch.arange(6).to(dtype) for name in "ba" for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "Größe": torch.ones(2, 3)}
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    save_tensors(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_turned_tensor_and_two_names_of_one_are_written_in_full(tmp_path: Path) -> None:
    matrix = torch.randn(3, 4, requires_grad=True)
    save_tensors(tmp_path / "file", {"turned": matrix.T, "same": matrix, "again": matrix})
    found = load_file(tmp_path / "file")
    assert torch.equal(found["turned"].T, matrix) and torch.equal(found["again"], matrix)


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 0, 100))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"no space left in .*: 104 bytes are needed, 100 are free"):
        save_tensors(tmp_path / "file", {"a": torch.zeros(26)})
    assert not (tmp_path / "file").exists()


# Prints how much more memory than before the saving a process had at its peak, and the size of the model.
PEAK = """
import resource, sys, torch
from pathlib import Path
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.checkpoint.optimizer import load_optimizer_state
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import empty_model
from scratchlm.model.language_model import n_parameters
from scratchlm.model.lora import add_lora
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import write_tokenizer
from scratchlm.training.optimizer import state_of
from scratchlm.training.state import TrainingState, state_tensors

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
what, folder = sys.argv[1], Path(sys.argv[2])
torch.ones(1) + 1
base = peak()
model = empty_model(GPTConfig(280, 8, 1024, 2, 8))
for parameter in model.parameters():
    torch.nn.init.constant_(parameter, 0.01)
tokenizer = folder / "tokenizer"
write_tokenizer(tokenizer, *train_bpe(["some words"], 280))
weights = 4 * n_parameters(model)
held = weights
if what == "lora":
    add_lora(model, [model.h], 4, 1.0)
    save_checkpoint(folder / "model", model, tokenizer)
elif what == "model":
    save_checkpoint(folder / "model", model, tokenizer)
else:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        kept = {"step": torch.tensor(1.0)} | {key: torch.full_like(parameter, 0.1) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = kept
    held = 3 * weights
    if what == "snapshot":
        Snapshots(folder / "key").save(state_tensors(model, optimizer, TrainingState()), {})
    else:
        save_checkpoint(folder / "model", model, tokenizer, state_of(model, optimizer))
        optimizer.state.clear()
        state = load_optimizer_state(folder / "model", model)
        for tensor in state.values():
            tensor.add_(1)  # as a step does
print(peak() - base - held, weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
@pytest.mark.parametrize("what", ["model", "lora", "snapshot", "optimizer"])
def test_saving_takes_no_second_copy_of_a_model(what: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PEAK, what, str(tmp_path)], capture_output=True, text=True, check=True)
    more, weights = map(int, done.stdout.split())
    assert weights > 350 * MIB
    assert more < weights / 2
