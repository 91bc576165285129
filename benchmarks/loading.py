"""Time the loading of GPT-2's released shapes by scratchlm and transformers, side by side.

    python benchmarks/loading.py --sizes 124M 355M --runs 5

The weights are random, in transformers' own file. Each measurement is a fresh process with everything imported,
the two in turn, the file in the page cache. transformers maps the file and reads a weight when it is first used, so
the time of loading alone says little: the second column includes the first logits. Memory is the peak above what the
process had before loading, as a share of the file's size. Needs Linux, whose /proc counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

WEIGHTS = "model.safetensors"
LOADERS = ("scratchlm", "transformers")


def main() -> None:
    arguments = parse_arguments()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    os.environ["TQDM_DISABLE"] = "1"
    print(f"{'size':6}{'file':>10}  {'loader':14}{'load':>8}{'to first logits':>17}{'peak memory':>13}")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_random_checkpoint(size, folder)
            size_mb = (folder / WEIGHTS).stat().st_size / 1e6
            runs: dict[str, list[dict[str, float]]] = {loader: [] for loader in LOADERS}
            for _ in range(arguments.runs):
                for loader in LOADERS:
                    runs[loader].append(measure_in_fresh_process(loader, folder))
        medians = {
            loader: {key: statistics.median(run[key] for run in found) for key in found[0]}
            for loader, found in runs.items()
        }
        for loader, median in medians.items():
            print(
                f"{size:6}{size_mb:7,.0f} MB  {loader:14}{median['load_s']:6.2f} s"
                f"{median['first_logits_s']:15.2f} s{median['peak_share']:11.2f} x"
            )
        ours, theirs = (medians[loader]["first_logits_s"] for loader in LOADERS)
        print(f"{size:6}to first logits, scratchlm takes {ours / theirs:.2f} of transformers' time")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["124M"], choices=("124M", "355M", "774M", "1558M"))
    parser.add_argument("--runs", type=int, default=5, help="runs of each loader; the table shows the medians")
    parser.add_argument("--measure", nargs=2, metavar=("LOADER", "FOLDER"), help="measure once, in this process")
    return parser.parse_args()


def write_random_checkpoint(size: str, folder: Path) -> None:
    """Write random weights of a released shape, as transformers writes them."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from scratchlm.bases.gpt2 import SHAPES

    emb_dim, n_heads, n_layers = SHAPES[size]
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=emb_dim, n_head=n_heads, n_layer=n_layers))
    model.to_empty(device="cpu")
    model.tie_weights()
    generator = torch.Generator().manual_seed(123)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = "ln_" in name and name.endswith("weight")
            parameter.normal_(mean=1.0 if is_norm else 0.0, std=0.05, generator=generator)
    model.save_pretrained(folder)


def measure_in_fresh_process(loader: str, folder: Path) -> dict[str, float]:
    """Run `measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", loader, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(loader: str, folder: str) -> dict[str, float]:
    """Load once; return seconds to the model and to its first logits, and peak memory as a share of the file."""
    import torch

    path = Path(folder)
    if loader == "scratchlm":
        from scratchlm.checkpoint.folder import load_checkpoint

        load = load_checkpoint
    else:
        from transformers import GPT2LMHeadModel

        load = GPT2LMHeadModel.from_pretrained
    ids = torch.arange(8)[None]
    before_bytes = status_bytes("VmRSS")
    started = perf_counter()
    model = load(path)
    load_s = perf_counter() - started
    load_peak_bytes = status_bytes("VmHWM") - before_bytes
    with torch.no_grad():
        model(ids)
    first_logits_s = perf_counter() - started
    peak_bytes = status_bytes("VmHWM") - before_bytes
    file_bytes = (path / WEIGHTS).stat().st_size
    return {
        "load_s": load_s,
        "first_logits_s": first_logits_s,
        "load_peak_share": load_peak_bytes / file_bytes,
        "peak_share": peak_bytes / file_bytes,
    }


def status_bytes(key: str) -> int:
    """Return what the kernel counts for this process; VmRSS is its memory, VmHWM the peak of that.

    `getrusage` would also count the peak of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()
