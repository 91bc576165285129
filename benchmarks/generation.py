"""Time generation by scratchlm, transformers and the book's code, side by side: greedy, the same random 124M weights.

    python benchmarks/generation.py        about 5 minutes on 2 idle cores

32 prompts of 8 to 128 tokens get 64 new tokens each. scratchlm and transformers answer all of them in one batch; the
book has no cache and no batches, so its code and our readable counterpart answer the first few, one by one. Every
measurement is a fresh process that loads, warms up and then generates once; the programs take turns, and the table
shows the median of the rounds. "same" counts the prompts whose text equals ours in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from book_package import book_model
from loading import write_random_checkpoint

from scratchlm.model.config import GPT2_CONTEXT_LENGTH, GPT2_VOCAB_SIZE

N_PROMPTS, SHORTEST, LONGEST = 32, 8, 128
NEW_TOKENS = 64
ONE_BY_ONE = 3  # prompts for the uncached programs, which would take minutes for all of them
OURS, THEIRS, BOOK, READABLE = "scratchlm", "transformers", "the book's code", "ours, uncached"
SIDES = ((OURS, "float32"), (THEIRS, "float32"), (OURS, "bfloat16"), (THEIRS, "bfloat16"))
UNCACHED = ((BOOK, "float32"), (READABLE, "float32"))

Continue = Callable[[list[list[int]], int], list[list[int]]]  # prompts and the number of new tokens -> the new tokens


def main() -> None:
    arguments = parse_arguments()
    if arguments.measure:
        program, dtype, folder = arguments.measure
        print(json.dumps(measure(program, dtype, Path(folder))))
        return
    os.environ["TQDM_DISABLE"] = "1"
    uncached = [side for side in UNCACHED if side[0] != BOOK or find_spec("llms_from_scratch")]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        write_random_checkpoint("124M", Path(temporary))
        for round_number in range(arguments.rounds):
            for side in (*SIDES, *(uncached if round_number == 0 else ())):
                print(f"round {round_number + 1}: {' '.join(side)} ...", file=sys.stderr, flush=True)
                found.setdefault(side, []).append(measure_in_fresh_process(*side, temporary))
    rows = [make_row(side, found) for side in found]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'program':18}{'dtype':10}{'tokens/s':>9}{'seconds':>9}{'ours is':>9}{'same':>10}")
    for row in rows:
        ratio = f"{row['ours_is']:.2f} x" if row["ours_is"] else ""
        same = f"{row['same']} of {row['prompts']}"
        print(
            f"{row['program']:18}{row['dtype']:10}{row['tokens_per_s']:9.1f}{row['seconds']:9.1f}{ratio:>9}{same:>10}"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of scratchlm and transformers")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def make_row(side: tuple[str, str], found: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    """Summarise one program's rounds; `ours_is` is scratchlm's tokens per second divided by the program's."""

    def tokens_per_s(side: tuple[str, str]) -> float:
        return statistics.median(run["tokens_per_s"] for run in found[side])

    program, dtype = side
    texts = found[side][0]["texts"]
    reference = found[OURS, "float32"][0]["texts"]
    return {
        "program": program,
        "dtype": dtype,
        "prompts": len(texts),
        "tokens_per_s": round(tokens_per_s(side), 2),
        "seconds": round(statistics.median(run["seconds"] for run in found[side]), 2),
        "ours_is": None if program == OURS else round(tokens_per_s((OURS, dtype)) / tokens_per_s(side), 2),
        "same": sum(text == wanted for text, wanted in zip(texts, reference, strict=False)),
    }


def measure_in_fresh_process(program: str, dtype: str, folder: str) -> dict[str, Any]:
    """Run `measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", program, dtype, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(program: str, dtype: str, folder: Path) -> dict[str, Any]:
    """Load and warm up, then time one generation; return seconds, tokens per second and the new tokens."""
    generator = torch.Generator().manual_seed(123)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (N_PROMPTS,), generator=generator).tolist()
    prompts = [torch.randint(GPT2_VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths]
    if program in dict(UNCACHED):
        prompts = prompts[:ONE_BY_ONE]
    with torch.inference_mode():
        continue_all = PROGRAMS[program](folder, getattr(torch, dtype))
        continue_all(prompts, 2)
        started = perf_counter()
        texts = continue_all(prompts, NEW_TOKENS)
        seconds = perf_counter() - started
    assert [len(text) for text in texts] == [NEW_TOKENS] * len(prompts)
    return {"seconds": seconds, "tokens_per_s": len(prompts) * NEW_TOKENS / seconds, "texts": texts}


def ours(folder: Path, dtype: torch.dtype) -> Continue:
    from scratchlm.checkpoint.folder import load_checkpoint
    from scratchlm.generation.decode import Sampling, generate

    model = load_checkpoint(folder).to(dtype)

    def continue_all(prompts: list[list[int]], n: int) -> list[list[int]]:
        return [given.ids for given in generate(model, prompts, n, (), Sampling(), batch_size=len(prompts))]

    return continue_all


def theirs(folder: Path, dtype: torch.dtype) -> Continue:
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval()

    def continue_all(prompts: list[list[int]], n: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        real = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        made = model.generate(
            padded, attention_mask=real, max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        return made[:, longest:].tolist()

    return continue_all


def readable(folder: Path, dtype: torch.dtype) -> Continue:
    from scratchlm.checkpoint.folder import load_checkpoint
    from scratchlm.generation.decode import generate_uncached

    model = load_checkpoint(folder).to(dtype)
    return lambda prompts, n: [generate_uncached(model, prompt, n) for prompt in prompts]


def book(folder: Path, dtype: torch.dtype) -> Continue:
    from llms_from_scratch.ch04 import generate_text_simple

    from scratchlm.checkpoint.folder import load_checkpoint

    model = book_model(load_checkpoint(folder)).to(dtype).eval()

    def continue_all(prompts: list[list[int]], n: int) -> list[list[int]]:
        texts = []
        for prompt in prompts:
            made = generate_text_simple(model, torch.tensor([prompt]), n, GPT2_CONTEXT_LENGTH)
            texts.append(made[0, len(prompt) :].tolist())
        return texts

    return continue_all


PROGRAMS: dict[str, Callable[[Path, torch.dtype], Continue]] = {
    OURS: ours,
    THEIRS: theirs,
    BOOK: book,
    READABLE: readable,
}


if __name__ == "__main__":
    main()
