"""Chapter 6's whole fine-tuning, by the book's published code and by this project: same figures, less time.

python benchmarks/classifier.py                            about 25 minutes on 2 idle cores
python benchmarks/classifier.py --epochs 1 --messages 64   about a minute

Both start from the same random weights of GPT-2 124M, train what the book trains on UCI's messages with all its
evaluations, and measure the accuracies of the whole splits before and after. Each runs in a process of its own, with
the same number of threads; only this work is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from book_package import book_model, gpt2_tokenizer
from book_profile import BookProfile
from pretraining import peak_flops

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.checkpoint.folder import load, load_checkpoint, save_checkpoint
from scratchlm.classifier.classifier import choose_trained_layers, new_classifier
from scratchlm.classifier.finetune import SPLITS, encode_splits, finetune, read_splits
from scratchlm.classifier.labels import read_labels
from scratchlm.classifier.messages import write_split_csv
from scratchlm.classifier.reading import Reading
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.model.linear import linear
from scratchlm.params.file import load_params
from scratchlm.stage.device import use_huge_pages

BASE = Path("models/bases/124M")
SMS = Path("data/sms")
TOKENIZER = Path("data/tokenizer")
LOSS_DIFFERENCE = 1e-4  # the largest one allowed, in nats: the two add up in another order


def prepare(folder: Path, config: GPTConfig, epochs: int, n_messages: int | None) -> None:
    """Write the messages, at most `n_messages` of each split, the tokenizer and random weights of a base."""
    book = BookProfile(folder, {"finetune_classifier.epochs": epochs})
    book.run("prepare_sms")
    book.run("build_tokenizer")
    for split, messages in read_splits(folder / SMS).items():
        write_split_csv(folder / SMS / f"{split}.csv", messages.head(n_messages or len(messages)))
    torch.manual_seed(book.params.seed)
    save_checkpoint(folder / BASE, new_model(config, "gpt2"), folder / TOKENIZER)


def run_ours(folder: Path) -> dict[str, Any]:
    """Fine-tune as the stage does, without its baselines."""
    use_huge_pages()
    os.chdir(folder)  # where the snapshots of a stage are
    params = load_params(Path("params.yaml"))
    settings = params.finetune_classifier
    base, tokenizer = load(BASE, settings.drop_rate)
    reading = Reading(settings.token, settings.padding, settings.causal_mask, tokenizer.eot_token)
    context = base.config.context_length
    messages, length = encode_splits(read_splits(SMS), tokenizer, settings.max_length, context, reading.padding)
    classifier = new_classifier(base, len(read_labels(SMS)), reading, settings.weights, params.seed)
    choose_trained_layers(classifier, settings)
    started = time.perf_counter()
    done = finetune(classifier, messages, settings, params.seed, lambda: None)
    seconds = time.perf_counter() - started
    done.snapshots.finish()
    return {
        "seconds": seconds,
        "length": length,
        "losses": [[row.train_loss, row.validation_loss] for row in done.state.curve if row.step % 50 == 0],
        "accuracies": [[note["train_accuracy"], note["validation_accuracy"]] for note in done.state.epoch_notes],
        "before": [done.initial[split]["accuracy"] for split in SPLITS],
        "after": [done.final[split]["accuracy"] for split in SPLITS],
    }


def run_original(folder: Path) -> dict[str, Any]:
    """Fine-tune with the book's classes and functions, in the order of its chapter."""
    tokenizer = gpt2_tokenizer(folder / TOKENIZER, folder)
    from llms_from_scratch.ch06 import SpamDataset, calc_accuracy_loader, train_classifier_simple

    settings = load_params(folder / "params.yaml").finetune_classifier
    train_set = SpamDataset(folder / SMS / "train.csv", tokenizer)
    others = [SpamDataset(folder / SMS / f"{split}.csv", tokenizer, train_set.max_length) for split in SPLITS[1:]]
    model = book_model(load_checkpoint(folder / BASE))
    torch.manual_seed(123)
    loader = torch.utils.data.DataLoader
    train_loader = loader(train_set, batch_size=8, shuffle=True, drop_last=True)
    splits = [train_loader, *(loader(part, batch_size=8) for part in others)]
    model.requires_grad_(False)
    torch.manual_seed(123)
    model.out_head = torch.nn.Linear(model.pos_emb.embedding_dim, 2)
    model.trf_blocks[-1].requires_grad_(True)
    model.final_norm.requires_grad_(True)
    started = time.perf_counter()
    torch.manual_seed(123)
    before = [calc_accuracy_loader(split, model, "cpu") for split in splits]
    torch.manual_seed(123)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)
    with contextlib.redirect_stdout(io.StringIO()):
        *losses, train_accuracies, validation_accuracies, _ = train_classifier_simple(
            model, train_loader, splits[1], optimizer, "cpu", settings.epochs, 50, 5
        )
    after = [calc_accuracy_loader(split, model, "cpu") for split in splits]
    return {
        "seconds": time.perf_counter() - started,
        "losses": list(zip(*losses, strict=True)),
        "accuracies": [[100 * a, 100 * b] for a, b in zip(train_accuracies, validation_accuracies, strict=True)],
        "before": [100 * accuracy for accuracy in before],
        "after": [100 * accuracy for accuracy in after],
    }


def frozen_flops(config: GPTConfig, n_tokens: int, length: int) -> float:
    """Return the floating point operations of the blocks that the book freezes, for `n_tokens` in rows of a length."""
    weights = 12 * config.emb_dim**2
    attention = 2 * length * config.emb_dim  # scores and weighted values of one token, without those that are masked
    return 2.0 * (config.n_layers - 1) * n_tokens * (weights + attention / 2)


RUNS = {"original": run_original, "ours": run_ours}


def in_a_process(name: str, folder: Path) -> dict[str, Any]:
    print(f"running {name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--run", name, "--folder", str(folder)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def differences(ours: dict[str, Any], original: dict[str, Any], n_train: int) -> list[str]:
    """Return what is not equal within rounding; `n_train` messages are in the training split."""
    found = []
    if largest_difference(ours["losses"], original["losses"]) > LOSS_DIFFERENCE:
        found.append("losses")
    if largest_difference(ours["accuracies"], original["accuracies"]) > 1e-9:
        found.append("accuracies after each epoch")
    for name in ("before", "after"):
        if largest_difference(ours[name][1:], original[name][1:]) > 1e-9:
            found.append(f"accuracies {name} the training")
        # The book's loader drops the last, shorter batch of the training split, ours measures every message.
        right, measured = round(ours[name][0] / 100 * n_train), n_train // 8 * 8
        if not right - n_train % 8 <= round(original[name][0] / 100 * measured) <= right:
            found.append(f"training accuracy {name} the training")
    return found


def largest_difference(ours: Any, original: Any) -> float:
    return (torch.tensor(ours, dtype=torch.float64) - torch.tensor(original, dtype=torch.float64)).abs().max().item()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5, help="epochs to train for")
    parser.add_argument("--messages", type=int, help="use only the first messages of each split")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    asked = parse_arguments()
    if asked.run:
        print(json.dumps(RUNS[asked.run](asked.folder)))
        return
    config = gpt2_config("124M")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, config, asked.epochs, asked.messages)
        frames = read_splits(folder / SMS)
        original, ours = (in_a_process(run, folder) for run in ("original", "ours"))
    sizes = [len(frames[split]) for split in SPLITS]
    print(f"{asked.epochs} epochs; messages of each split: {', '.join(map(str, sizes))}")
    rows = len(ours["losses"])
    print(f"losses of {rows} evaluations: at most {largest_difference(ours['losses'], original['losses']):.1e} apart")
    unequal = differences(ours, original, sizes[0])
    print(f"different: {', '.join(unequal)}" if unequal else "losses and accuracies are equal within rounding")
    after = " / ".join(f"{accuracy:.2f} %" for accuracy in ours["after"])
    print(f"accuracies after the training: {after} of {' / '.join(SPLITS)}")
    print(f"original {original['seconds']:.0f} s, ours {ours['seconds']:.0f} s: ", end="")
    print(f"{ours['seconds'] / original['seconds']:.3f} of the time")
    limit_s = frozen_flops(config, sum(sizes) * ours["length"], ours["length"]) / peak_flops(linear)
    print(f"the frozen blocks, once for each message, at the peak of oneDNN's products: {limit_s:.0f} s")
    sys.exit(bool(unequal))


if __name__ == "__main__":
    main()
