"""A training step in float32 and in bfloat16, in turn, as ratios.

python benchmarks/precision.py        about two minutes on 2 idle cores

GPT-2 124M with random weights, on the CPU and on a CUDA device if there is one: chapter 5's batch of 2 texts with 256
tokens, and chapter 6's of 8 messages with 120 tokens, all layers trained. The two precisions alternate in one process,
each with an AdamW of its own on the same weights; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.classifier.classifier import Classifier, Messages, label_loss
from scratchlm.model.config import GPT2_VOCAB_SIZE
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.params.choices import Precision
from scratchlm.params.file import load_params
from scratchlm.stage.device import has_bfloat16, use_huge_pages
from scratchlm.training.loaders import Loaders, loaders
from scratchlm.training.loop import Training
from scratchlm.training.loss import Loss, next_token_loss

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SETTINGS = load_params(Path(__file__).parents[1] / "profiles/book.yaml").pretrain
Made = tuple[nn.Module, Loss, Loaders]


def pretraining(gpt: GPT) -> Made:
    ids = torch.randint(GPT2_VOCAB_SIZE, (2, 257))
    examples = [(row[:-1], row[1:]) for row in ids]
    return gpt, next_token_loss, loaders(examples, examples, 2)


def classifier(gpt: GPT) -> Made:
    messages = Messages(torch.randint(GPT2_VOCAB_SIZE, (8, 120)), [0, 1] * 4)
    return Classifier(gpt), label_loss, loaders(messages, messages, 8)


TRAININGS: dict[str, Callable[[GPT], Made]] = {
    "pretraining, 2 x 256": pretraining,
    "classifier, 8 x 120": classifier,
}


def compare(made: Made, device: torch.device, rounds: int) -> dict[str, Any]:
    """Return the median seconds of a step in each precision."""
    model, loss, batches = made
    model.to(device).train()
    runs = {
        precision: Training(model, loss, batches, SETTINGS.model_copy(update={"precision": precision}), "", None)
        for precision in PRECISIONS
    }
    batch = next(iter(batches.train))
    seconds: dict[str, list[float]] = {precision: [] for precision in runs}
    for _ in range(rounds + 1):
        for precision, run in runs.items():
            started = perf_counter()
            run.update(batch)
            run.guard.check()  # waits for the device
            seconds[precision].append(perf_counter() - started)
    return {precision: median(values[1:]) for precision, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="steps of each precision that are timed, after one")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    asked = parser.parse_args()
    use_huge_pages()
    rows = []
    for name in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        device = torch.device(name)
        for training, make in TRAININGS.items():
            torch.manual_seed(1)
            seconds = compare(make(new_model(gpt2_config("124M"), "gpt2")), device, asked.rounds)
            ratio = seconds["bfloat16"] / seconds["float32"]
            rows.append({"device": name, "training": training, **seconds, "ratio": ratio})
            if not asked.json:
                times = ", ".join(f"{precision} {value:.3f} s" for precision, value in seconds.items())
                print(f"{name}: {training}: {times}, {ratio:.2f} of the time", flush=True)
        if not has_bfloat16(device) and not asked.json:
            print(f"{name} has no instructions for bfloat16")
    if asked.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
