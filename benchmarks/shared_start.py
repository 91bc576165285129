"""A step of the assistant on SmolLM2, with and without the words that all prompts begin with computed once, in turn.

Run it in the project's folder after `make repro` of the profile smol or laptop:

python benchmarks/shared_start.py [--precision float32] [--steps 6]        about a minute on 2 idle cores

The same batches go through both sides, one after the other in one process; the medians of the processor's time are
compared. `ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2` makes torch compute as on a
processor that knows no more.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time

import torch

from scratchlm.assistant.batches import read_batches
from scratchlm.checkpoint.folder import load
from scratchlm.params.file import load_params
from scratchlm.stage.device import use_huge_pages
from scratchlm.training import loss
from scratchlm.training.loop import Training

BASE, INSTRUCTIONS = Path("models/bases/smollm2-135M"), Path("data/instructions")
NEVER = 10**6  # tokens that all texts would have to begin with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    use_huge_pages()
    params = load_params(Path("params.yaml"))
    settings = params.finetune_instructions.model_copy(update={"precision": given.precision})
    model, tokenizer = load(BASE)
    batches = read_batches(INSTRUCTIONS, params.instructions.prompt_style, tokenizer, settings)
    torch.manual_seed(params.seed)
    training = Training(model.train(), loss.next_token_loss, batches.loaders, settings, "shared_start", None)
    fewest = loss.FEWEST_SHARED
    seconds: dict[str, list[float]] = {"once": [], "in each entry": []}
    for batch in islice(batches.loaders.train, given.steps + 1):
        for name, least in zip(seconds, (fewest, NEVER), strict=True):
            loss.FEWEST_SHARED = least
            started = process_time()
            training.update(batch)
            seconds[name].append(process_time() - started)
    once, each = (median(taken[1:]) for taken in seconds.values())  # the first batch warms up
    print(f"{given.precision}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")  # type: ignore[no-untyped-call]
    print(f"a step, shared words once: {once:.2f} s, in each entry: {each:.2f} s of the processor, {once / each:.2f}")


if __name__ == "__main__":
    main()
