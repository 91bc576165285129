"""A step of the assistant with logits where a target counts, and with those of all positions, in turn.

python benchmarks/counted_targets.py        about four minutes on 2 idle cores, on Linux

GPT-2 124M with random weights, the book's entries in batches of 8, with and without masked prompts. The two sides
alternate in one process; the medians of the processor's time are compared. The peak of the memory is that of two steps
in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time

import torch
from book_profile import BookProfile
from loading import status_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.assistant.batches import read_batches
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.model.init import new_model
from scratchlm.stage.device import use_huge_pages
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.training.loop import Training
from scratchlm.training.loss import IGNORED, Batch, next_token_loss


def all_logits_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return what `next_token_loss` does, from the logits of every position."""
    inputs_BT, targets_BT = batch
    logits_BTV = model(inputs_BT)
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="sum")


LOSSES = {"counted": next_token_loss, "all": all_logits_loss}


def trainings(book: BookProfile, names: Iterable[str]) -> dict[str, Training]:
    """Return trainings of one model, of which only the loss differs."""
    params = book.params
    settings = params.finetune_instructions
    tokenizer = read_tokenizer(book.folder / "data/tokenizer")
    batches = read_batches(book.folder / "data/instructions", params.instructions.prompt_style, tokenizer, settings)
    torch.manual_seed(1)
    model = new_model(gpt2_config("124M"), "gpt2").train()
    return {name: Training(model, LOSSES[name], batches.loaders, settings, "", None) for name in names}


def measure(book: BookProfile, n_batches: int) -> dict[str, float]:
    """Return the median seconds of a step on either side, and the share of the targets that count."""
    runs = trainings(book, LOSSES)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    n_counted = n_targets = 0
    for batch in islice(runs["all"].batches.train, n_batches + 1):
        n_counted, n_targets = n_counted + int((batch[1] != IGNORED).sum()), n_targets + batch[1].numel()
        for name, run in runs.items():
            started = process_time()
            run.update(batch)
            seconds[name].append(process_time() - started)
    share = n_counted / n_targets
    return {"share_counted": share, **{f"{name}_s": median(values[1:]) for name, values in seconds.items()}}


def peak_gib(folder: Path, mask_prompt: bool, name: str) -> float:
    """Return the peak memory of a process that takes two steps."""
    command = [sys.executable, __file__, "--peak-of", name, "--in", str(folder), *(["--mask"] if mask_prompt else [])]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--batches", type=int, default=8, help="batches that are timed, after one that is not")
    for option, settings in (("--peak-of", {"choices": LOSSES}), ("--in", {}), ("--mask", {"action": "store_true"})):
        parser.add_argument(option, help=argparse.SUPPRESS, **settings)
    asked = vars(parser.parse_args())
    use_huge_pages()
    if asked["peak_of"]:
        book = BookProfile(Path(asked["in"]), {"finetune_instructions.mask_prompt": asked["mask"]})
        (run,) = trainings(book, [asked["peak_of"]]).values()
        for batch in islice(run.batches.train, 2):
            run.update(batch)
        print(status_bytes("VmHWM") / 2**30)
        return
    for mask_prompt in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            book = BookProfile(Path(folder), {"finetune_instructions.mask_prompt": mask_prompt})
            for stage in ("build_tokenizer", "prepare_instructions"):
                book.run(stage)
            row = measure(book, asked["batches"])
            peaks = {f"{name}_peak_gib": peak_gib(Path(folder), mask_prompt, name) for name in LOSSES}
        ratios = {"time": row["counted_s"] / row["all_s"], "memory": peaks["counted_peak_gib"] / peaks["all_peak_gib"]}
        print(json.dumps({"mask_prompt": mask_prompt, **row, **peaks, **ratios}), flush=True)


if __name__ == "__main__":
    main()
