"""Chapter 5's whole pretraining, by the book's published code and by this project: same digits, less time.

python benchmarks/pretraining.py        about 15 minutes on 2 idle cores

Both train the 124M model for 10 epochs on The Verdict with all evaluations and sample texts, each in a process of
its own; only the training is timed. Then one step of ours is profiled.
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
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from book_package import gpt2_tokenizer
from book_profile import BookProfile
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.config import GPT2_VOCAB_SIZE, GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.linear import linear
from scratchlm.stage.device import use_huge_pages
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import window_loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import count_targets, next_token_loss

SHAPE = {"context_length": 256, "emb_dim": 768, "n_heads": 12, "n_layers": 12, "drop_rate": 0.1, "qkv_bias": False}
PROMPT = "Every effort moves you"
LINEAR, DROPOUT = "matrix products of linear layers", "dropout masks"
PARTS = {
    "mkldnn::_linear_pointwise": LINEAR,
    "aten::mm": LINEAR,
    "aten::addmm": LINEAR,
    "aten::bmm": "matrix products of attention",
    "aten::bernoulli_": DROPOUT,
    "aten::_fused_adamw_": "AdamW",
    "aten::fill_": "zeroing gradients of embeddings",
}


def run_ours(folder: Path) -> dict[str, Any]:
    use_huge_pages()
    model = book_model()
    tokenizer = read_tokenizer(folder / "data/tokenizer")
    params = BookProfile(folder).params.pretrain
    texts = []

    def write_sample(epoch: int) -> None:
        texts.append(generate_text(model, tokenizer, PROMPT, 50, Sampling()).replace("\n", " "))

    batches = verdict_batches(folder)
    started = time.perf_counter()
    done = train(model, loss=next_token_loss, batches=batches, params=params, name="ours", after_epoch=write_sample)
    seconds = time.perf_counter() - started
    losses = [[f"{row.train_loss:.3f}", f"{row.validation_loss:.3f}"] for row in done.curve if row.step % 5 == 0]
    return {"seconds": seconds, "losses": losses, "texts": texts}


def run_original(folder: Path) -> dict[str, Any]:
    """Train with the book's classes."""
    tokenizer = gpt2_tokenizer(folder / "data/tokenizer", folder)
    from llms_from_scratch import ch02, ch04, ch05

    text = (folder / "data/corpus/the-verdict.txt").read_text(encoding="utf-8")
    border = int(0.9 * len(text))
    window = {"batch_size": 2, "max_length": 256, "stride": 256, "num_workers": 0}
    torch.manual_seed(123)
    train_loader = ch02.create_dataloader_v1(text[:border], **window, drop_last=True, shuffle=True)
    validation_loader = ch02.create_dataloader_v1(text[border:], **window, drop_last=False, shuffle=False)
    model = ch04.GPTModel({"vocab_size": GPT2_VOCAB_SIZE, **SHAPE})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0004, weight_decay=0.1)
    printed = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(printed):
        train_losses, validation_losses, _ = ch05.train_model_simple(
            model, train_loader, validation_loader, optimizer, "cpu", 10, 5, 5, PROMPT, tokenizer
        )
    seconds = time.perf_counter() - started
    losses = [[f"{a:.3f}", f"{b:.3f}"] for a, b in zip(train_losses, validation_losses, strict=True)]
    texts = [line for line in printed.getvalue().splitlines() if line.startswith(PROMPT)]
    return {"seconds": seconds, "losses": losses, "texts": texts}


def book_model() -> GPT:
    torch.manual_seed(123)
    return new_model(GPTConfig(vocab_size=GPT2_VOCAB_SIZE, tie_embeddings=False, **SHAPE), "book")  # type: ignore[arg-type]


def verdict_batches(folder: Path) -> Any:
    return window_loaders(open_tokens(folder / "data/tokens"), 2)


def one_step(folder: Path) -> dict[str, Any]:
    """Time some steps of ours, and sum up torch's profile of one step by its parts."""
    use_huge_pages()
    model = book_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0004, weight_decay=0.1, fused=True)
    batch = next(iter(verdict_batches(folder).train))

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        (next_token_loss(model, batch) / count_targets(batch)).backward()
        optimizer.step()
        return time.perf_counter() - started

    seconds = sorted(step() for _ in range(8))[3]
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    parts: Counter[str] = Counter()
    for event in profiled.key_averages():
        parts[PARTS.get(event.key, "everything else")] += event.self_cpu_time_total
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and name[:3] not in ("wte", "wpe"))
    attention = 2 * 2 * SHAPE["n_layers"] * SHAPE["context_length"] * SHAPE["emb_dim"]
    flops = 3 * (2 * weights + attention) * batch[0].numel()
    total = sum(parts.values())
    return {"seconds": seconds, "flops": flops, "parts": {name: value / total for name, value in parts.most_common()}}


def peak_flops(product: Any) -> float:
    """Return the floating point operations per second of a product of two 2048 x 2048 matrices."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    with torch.no_grad():
        for _ in range(10):
            started = time.perf_counter()
            product(a, b)
            seconds.append(time.perf_counter() - started)
    return float(2 * 2048**3 / min(seconds))


RUNS = {"original": run_original, "ours": run_ours, "step": one_step}


def in_a_process(name: str, folder: Path) -> dict[str, Any]:
    print(f"running {name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--run", name, "--folder", str(folder)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(RUNS[asked.run](asked.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = BookProfile(Path(name)).run("tokenize_corpus")
        original, ours, step = (in_a_process(run, folder) for run in ("original", "ours", "step"))
    same = ours["losses"] == original["losses"], ours["texts"] == original["texts"]
    print(f"losses of all {len(ours['losses'])} evaluations equal to three decimals: {same[0]}")
    print(f"all {len(ours['texts'])} sample texts equal: {same[1]}")
    print(f"the whole run: original {original['seconds']:.0f} s, ours {ours['seconds']:.0f} s: ", end="")
    print(f"{ours['seconds'] / original['seconds']:.2f} of the time")
    rate = step["flops"] / step["seconds"]
    print(f"a step of ours: {step['seconds']:.2f} s, {step['flops'] / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s")
    for label, product in (("torch's own product", F.linear), ("ours", linear)):
        peak = peak_flops(product)
        print(f"peak of {label}, 2048 x 2048: {peak / 1e9:.0f} GFLOP/s, a step is at {rate / peak:.0%} of it")
    for part, share in step["parts"].items():
        print(f"  {share:5.1%}  {part}")
    sys.exit(not all(same))


if __name__ == "__main__":
    main()
