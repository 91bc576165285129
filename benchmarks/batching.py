"""What it takes to build a batch, as a share of a training step: would worker processes help?

python benchmarks/batching.py        about a minute on 2 idle cores

For each of the three trainings, once with the shapes of the sample profile and once with the book's, batches of
random token ids are built by the library's own datasets and loaders, and trained on with random weights. Batches and
steps alternate in one process, so that both see the same machine; the medians are compared. On a GPU a step is
shorter, so that the share is larger: SCRATCHLM_DEVICE chooses, as in the stages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from scratchlm.assistant.batches import Example, collate
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.classifier.classifier import Classifier, Messages, choose_trained_layers, label_loss
from scratchlm.model.config import GPT2_VOCAB_SIZE
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.params.file import load_params
from scratchlm.params.schema import Params, TrainingParams
from scratchlm.stage.device import find_device
from scratchlm.tokens.windows import Windows
from scratchlm.training.loaders import Loader, Loaders, loaders
from scratchlm.training.loop import Training
from scratchlm.training.loss import Loss, next_token_loss

PROFILES = Path(__file__).parents[1] / "profiles"
PAIRS = {"sample": 60, "book": 6}  # batches and steps that are timed, after one that is not
EXAMPLES = 512
# Tokens of the longest message, and of the shortest and the longest entry, in the training data of both profiles.
MESSAGE_TOKENS = {"sample": 65, "book": 120}
ENTRY_TOKENS = {"sample": (27, 44), "book": (40, 91)}
WORKER_SHARE = 0.1  # of a step; below it, a worker process is not worth its copies of the data


def pretraining(profile: str, params: Params, vocab_size: int) -> tuple[nn.Module, Loss, Loaders]:
    ids = np.random.default_rng(1).integers(vocab_size, size=EXAMPLES * 64).astype("<u2")
    windows = Windows(ids, params.windows.max_length, params.windows.stride)
    batches = loaders(windows, windows, params.pretrain.batch_size, collate=lambda batch: batch)
    return new_model(params.model.config(vocab_size), "gpt2"), next_token_loss, batches


def classifier(profile: str, params: Params, vocab_size: int) -> tuple[nn.Module, Loss, Loaders]:
    ids = torch.randint(vocab_size, (EXAMPLES, MESSAGE_TOKENS[profile]))
    messages = Messages(ids, torch.randint(2, (EXAMPLES,)).tolist())
    model = Classifier(base(params.finetune_classifier.base, params, vocab_size))
    choose_trained_layers(model, params.finetune_classifier)
    return model, label_loss, loaders(messages, messages, params.finetune_classifier.batch_size)


def assistant(profile: str, params: Params, vocab_size: int) -> tuple[nn.Module, Loss, Loaders]:
    settings = params.finetune_instructions
    shortest, longest = ENTRY_TOKENS[profile]
    lengths = torch.randint(shortest, longest + 1, (EXAMPLES,)).tolist()
    examples = [Example(torch.randint(vocab_size, (length,)).tolist(), shortest // 2) for length in lengths]
    pad = partial(collate, pad_id=0, max_length=settings.max_length, mask_prompt=settings.mask_prompt)
    model = base(settings.base, params, vocab_size)
    return model, next_token_loss, loaders(examples, examples, settings.batch_size, pad)


def base(name: str, params: Params, vocab_size: int) -> GPT:
    return new_model(params.model.config(vocab_size) if name == "pretrained" else gpt2_config(name), "gpt2")


TRAININGS = {"pretrain": pretraining, "finetune_classifier": classifier, "finetune_instructions": assistant}


def endless(loader: Loader) -> Iterator[Any]:
    while True:
        yield from loader


def seconds(
    model: nn.Module, loss: Loss, batches: Loaders, params: TrainingParams, device: torch.device, n_pairs: int
) -> tuple[float, float]:
    """Return the median times of building a batch, and of a step on it, which includes the copy to the device."""
    run = Training(model.to(device).train(), loss, batches, params, "benchmark", None)
    source = endless(batches.train)
    build_s, step_s = [], []
    for _ in range(n_pairs + 1):
        started = perf_counter()
        batch = next(source)
        built = perf_counter()
        run.update(batch)
        run.guard.check()  # waits for the device
        build_s.append(built - started)
        step_s.append(perf_counter() - built)
    return median(build_s[1:]), median(step_s[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--only", choices=PAIRS, help="the shapes of one profile")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    asked = parser.parse_args()
    device, _ = find_device()
    rows = []
    for profile, n_pairs in PAIRS.items():
        if asked.only not in (None, profile):
            continue
        params = load_params(PROFILES / f"{profile}.yaml")
        for name, make in TRAININGS.items():
            torch.manual_seed(1)
            # The schedule's warmup may be longer than the few batches here.
            settings: TrainingParams = getattr(params, name).model_copy(update={"warmup_steps": 0})
            built = make(profile, params, min(params.tokenizer.vocab_size, GPT2_VOCAB_SIZE))
            build_s, step_s = seconds(*built, settings, device, n_pairs)
            share = build_s / step_s
            rows.append({"profile": profile, "training": name, "batch_s": build_s, "step_s": step_s, "share": share})
            if not asked.json:
                print(
                    f"{profile:7} {name:22} batch {1000 * build_s:7.2f} ms  step {1000 * step_s:9.1f} ms  "
                    f"{share:6.2%} of a step",
                    flush=True,
                )
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    above = [f"{row['profile']} {row['training']}" for row in rows if row["share"] > WORKER_SHARE]
    print(f"on {device}, more than {WORKER_SHARE:.0%} of a step: {', '.join(above) or 'none'}")


if __name__ == "__main__":
    main()
