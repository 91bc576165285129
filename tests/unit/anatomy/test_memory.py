"""The memory of a step is what torch's autograd keeps, and what a process takes at its peak."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scratchlm.anatomy.memory import GIB, LINE, LOGIT_BYTES, TrainingStep, describe_memory, memory_of, total_bytes
from scratchlm.bases.gpt2 import SHAPES, gpt2_config
from scratchlm.errors import InputError
from scratchlm.model.config import GPT2_VOCAB_SIZE, AttentionKind, GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.cut import train_upper_blocks
from scratchlm.model.init import new_model
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.params.choices import Precision
from scratchlm.stage.device import autocast
from scratchlm.training.loss import next_token_loss

ROWS, TOKENS, WORDS = 2, 16, 97
GPT = GPTConfig(WORDS, 32, 40, 5, 3)
LLAMA = LlamaConfig(WORDS, 32, 40, 5, 3, n_kv_heads=1, hidden_dim=56, rope_base=1e4)
MIB = 2**20


def kept_bytes(config: ModelConfig, step: TrainingStep) -> int:
    """Return the bytes that autograd keeps for the backward pass, weights left out."""
    model = new_model(config, "gpt2", attention=step.attention).train()
    if step.upper_blocks is not None:
        train_upper_blocks(model, step.upper_blocks)
    if step.lora_rank is not None:
        add_lora(model, [model.h, untied_head(model)], step.lora_rank, 1.0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that no other gets its place
        return tensor

    ids_BT = torch.randint(0, WORDS, (ROWS, TOKENS))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, autocast(model, step.precision):
        loss = next_token_loss(model, (ids_BT, ids_BT))
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def computed_bytes(config: ModelConfig, step: TrainingStep) -> int:
    """Return the same from the formulas: of the three tensors of logits, autograd keeps one."""
    return total_bytes(memory_of(config, step).activations) - LOGIT_BYTES * 2 // 3 * ROWS * TOKENS * WORDS


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("drop_rate", [0.0, 0.1])
@pytest.mark.parametrize("attention", ["sdpa", "manual"])
@pytest.mark.parametrize("config", [GPT, LLAMA, replace(GPT, activation="relu"), replace(GPT, tie_embeddings=False)])
def test_activations_are_what_autograd_keeps(
    config: ModelConfig, attention: AttentionKind, drop_rate: float, precision: Precision
) -> None:
    config = replace(config, drop_rate=drop_rate)
    assert precision != "auto"
    step = TrainingStep(ROWS, TOKENS, precision, attention=attention)
    # What is left out does not grow with the rows: positions, angles, and the masks of written-out attention.
    assert computed_bytes(config, step) == pytest.approx(kept_bytes(config, step), rel=0.005)


@pytest.mark.parametrize("config", [GPT, LLAMA])
def test_frozen_blocks_keep_nothing(config: ModelConfig) -> None:
    step = TrainingStep(ROWS, TOKENS, upper_blocks=1)
    assert computed_bytes(config, step) == pytest.approx(kept_bytes(config, step), rel=0.1)
    assert computed_bytes(config, step) < 0.6 * computed_bytes(config, replace(step, upper_blocks=3))


def test_lora_keeps_about_the_activations_of_the_whole_model_and_few_moments() -> None:
    step = TrainingStep(ROWS, TOKENS, lora_rank=1)
    assert computed_bytes(GPT, step) == pytest.approx(kept_bytes(GPT, step), rel=0.05)
    whole, lora = (memory_of(GPT, replace(step, lora_rank=rank)) for rank in (None, 1))
    assert lora.gradients[0].size_bytes < whole.gradients[0].size_bytes / 10
    for rank in (None, 8):
        assert logits_bytes(TrainingStep(8, 1024, lora_rank=rank)) == LOGIT_BYTES * 4096 * GPT2_VOCAB_SIZE
        assert logits_bytes(TrainingStep(1, 1024, lora_rank=rank)) == LOGIT_BYTES * 1024 * GPT2_VOCAB_SIZE


def logits_bytes(step: TrainingStep) -> int:
    activations = memory_of(gpt2_config("124M"), step).activations
    return next(need.size_bytes for need in activations if need.name == "logits and loss")


def test_processes_share_what_stays_and_micro_batches_keep_gradients() -> None:
    config = gpt2_config("124M")
    one = memory_of(config, TrainingStep(8, 1024))
    two = memory_of(config, TrainingStep(8, 1024, processes=2))
    assert two.weights[0].size_bytes == one.weights[0].size_bytes / 2
    assert two.peak_bytes < one.peak_bytes
    parts = memory_of(config, TrainingStep(8, 1024, micro_batch=1))
    assert parts.start_bytes == total_bytes([*parts.weights, *parts.gradients, *parts.activations])
    assert parts.peak_bytes < one.peak_bytes / 2


@pytest.mark.parametrize("size", SHAPES)
def test_the_table_fits_a_terminal(size: str) -> None:
    table = describe_memory(gpt2_config(size), TrainingStep(32, 1024, "bfloat16", micro_batch=4, processes=8))
    assert max(map(len, table.splitlines())) <= LINE
    weights = next(line for line in table.splitlines() if line.startswith("weights "))
    assert f"4 bytes x {memory_of(gpt2_config(size), TrainingStep(1, 1)).weights[0].size_bytes // 4:,}" in weights


def test_the_guides_table_is_what_is_computed() -> None:
    text = (Path(__file__).parents[3] / "docs" / "scale.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| with `--bfloat16` (\|.*)\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    ((sizes, table),) = rows
    stays = TrainingStep(8, 1024, "bfloat16")
    parts = replace(stays, micro_batch=1)
    steps = [stays, stays, parts, replace(parts, processes=8), replace(parts, lora_rank=8)]
    for row, step in zip(table.splitlines(), steps, strict=True):
        for size, shown in zip(sizes.split("|")[1:-1], row.split("|")[2:-1], strict=True):
            memory = memory_of(replace(gpt2_config(size.strip()), drop_rate=0.0), step)
            lasting = total_bytes([*memory.weights, *memory.gradients])
            computed = lasting if row.startswith("| weights") else memory.peak_bytes
            assert shown.strip() == f"{computed / GIB:.1f}", (row, size)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (TrainingStep(1, 33), "33 tokens, this model takes 1 to 32"),
        (TrainingStep(3, 8, processes=2), "3 rows for 2 processes"),
        (TrainingStep(1, 8, upper_blocks=4), "4 upper blocks to train, this model has 3"),
        (TrainingStep(1, 8, upper_blocks=1, lora_rank=1), "choose one"),
        (TrainingStep(1, 8, lora_rank=41), "lora_rank is 41"),
    ],
)
def test_steps_that_do_not_fit_are_refused(step: TrainingStep, message: str) -> None:
    with pytest.raises(InputError, match=message):
        memory_of(GPT, step)


PEAK = """
import re, sys, torch
from dataclasses import replace
from pathlib import Path
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.model.init import new_model
from scratchlm.training.loss import next_token_loss
def status(key): return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
size, rows, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.ones(1) + 1
before = status("VmRSS")
model = new_model(replace(gpt2_config(size), drop_rate=0.0), "gpt2").train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
for step in range(2):
    optimizer.zero_grad()
    ids = torch.randint(0, 50257, (rows, tokens))
    next_token_loss(model, (ids, ids)).backward()
    optimizer.step()
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in Linux's /proc")
@pytest.mark.parametrize(("size", "rows", "tokens"), [("124M", 2, 512), ("355M", 1, 512)])
def test_the_peak_of_a_real_step_is_near(size: str, rows: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # glibc gives back what is freed; else it keeps some
    done = subprocess.run(
        [sys.executable, "-c", PEAK, size, str(rows), str(tokens)], capture_output=True, text=True, check=True
    )
    computed = memory_of(replace(gpt2_config(size), drop_rate=0.0), TrainingStep(rows, tokens)).peak_bytes
    # The rest is not of tensors: programs that oneDNN makes, and the allocator's own.
    assert 0 <= int(done.stdout) / computed - 1 < 0.07
