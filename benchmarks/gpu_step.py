"""A training step of GPT-2 on one GPU: tokens per second, MFU, peak memory, and how often the CPU waits for the GPU.

python benchmarks/gpu_step.py                                  one H100: two minutes
python benchmarks/gpu_step.py --size 355M --micro-batch 8      any of 124M, 355M, 774M, 1558M

GPT-2 with random weights and texts of 1,024 random tokens, no dropout, bfloat16, AdamW: the steps are those of the
pipeline's own loop. Four ways beside each other: torch's cross entropy of all logits, ours of a part at a time, and
both compiled, as SCRATCHLM_COMPILE=1 does. Compiling and the first steps are not timed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.file import load_params
from scratchlm.training.compiled import VARIABLE, compile_model
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import Training
from scratchlm.training.loss import Batch, Loss, next_token_loss, on_device
from scratchlm.training.shares import MICRO_BATCH
from scratchlm.training.throughput import WARMUP_STEPS, device_name

SIZES = ("124M", "355M", "774M", "1558M")
SETTINGS = load_params(Path(__file__).parents[1] / "profiles/book.yaml").pretrain
TINY = GPTConfig(256, 32, 32, 2, 2)  # for a look at this script where there is no GPU


def loss_of_all_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return what `next_token_loss` does, with all logits in memory, as most code has it."""
    inputs_BT, targets_BT = on_device(batch, model)
    return F.cross_entropy(model(inputs_BT).flatten(0, 1), targets_BT.flatten(), reduction="sum")


WAYS: dict[str, tuple[Loss, bool]] = {
    "all logits": (loss_of_all_logits, False),
    "in parts": (next_token_loss, False),
    "all logits, compiled": (loss_of_all_logits, True),
    "in parts, compiled": (next_token_loss, True),
}


@dataclass(frozen=True)
class Row:
    """What was measured of one way."""

    way: str
    tokens_per_s: float
    utilization: float | None  # of the device's peak, 0 to 1
    peak_gib: float
    syncs_per_step: float
    loss: float  # of the last step

    def __str__(self) -> str:
        mfu = "unknown" if self.utilization is None else f"{self.utilization:.1%}"
        return (
            f"{self.way:22} {self.tokens_per_s:9,.0f} tokens/s  MFU {mfu}  peak {self.peak_gib:.2f} GiB  "
            f"{self.syncs_per_step:.1f} waits per step  loss {self.loss:.4f}"
        )


def measure(way: str, config: GPTConfig, micro_batch: int, n_parts: int, steps: int, device: torch.device) -> Row:
    """Train a new model for some steps, in batches of `n_parts` times `micro_batch` texts."""
    loss, is_compiled = WAYS[way]
    torch.manual_seed(1)
    model = new_model(config, "gpt2").to(device).train()
    if is_compiled:
        compile_model(model)
    rows = micro_batch * n_parts
    ids = torch.randint(config.vocab_size, (4 * rows, config.context_length + 1))
    examples = [(row[:-1], row[1:]) for row in ids]
    changes = {"precision": "bfloat16", "batch_size": rows, "accumulate": n_parts}
    batches = loaders(examples, examples, rows)
    settings = SETTINGS.model_copy(update={**changes, "epochs": 10**6, "learning_rate": 3e-4})
    run = Training(model, loss, batches, settings, "gpu_step", None)
    made = list(batches.train)

    for step in range(WARMUP_STEPS + steps):
        if step == WARMUP_STEPS and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        last_loss = run.update(made[step % len(made)])
    run.throughput.pause()
    peak_gib = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
    speed, utilization = run.throughput.tokens_per_s, run.throughput.utilization  # before more steps are counted
    return Row(way, speed, utilization, peak_gib, n_waits(run, made, device), float(last_loss))


def n_waits(run: Training, batches: list[Batch], device: torch.device) -> float:
    """Return how often the CPU waits for the GPU in a step, as torch's own check counts it."""
    if device.type != "cuda":
        return float("nan")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        for step in range(20):
            run.update(batches[step % len(batches)])
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught) / 20


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--size", choices=[*SIZES, "tiny"], default="124M")
    parser.add_argument("--micro-batch", type=int, default=32, help="texts computed together (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches of a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    asked = parser.parse_args()
    for variable in (VARIABLE, MICRO_BATCH):  # the arguments say what is measured
        os.environ.pop(variable, None)
    device = torch.device(asked.device)
    config = TINY if asked.size == "tiny" else replace(gpt2_config(asked.size), drop_rate=0.0)
    rows: list[dict[str, Any]] = []
    if not asked.json:
        texts = f"{asked.parts} x {asked.micro_batch} texts of {config.context_length} tokens"
        print(f"{device_name(device)}, torch {torch.__version__}, GPT-2 {asked.size}, {texts} a step")
    for way in asked.ways:
        try:
            row = measure(way, config, asked.micro_batch, asked.parts, asked.steps, device)
        except torch.OutOfMemoryError as error:
            line = f"{way:22} out of memory: {str(error).splitlines()[0][:120]}"
            print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)
        else:
            rows.append(asdict(row))
            if not asked.json:
                print(row, flush=True)
        torch.compiler.reset()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if asked.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
