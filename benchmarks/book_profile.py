"""The pipeline under the book profile, in a folder of its own, each stage run when first asked for."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scratchlm.params.file import load_params
from scratchlm.params.schema import Params

ROOT = Path(__file__).parents[1]
# What must have run before; download_weights here never copies our own model, so that it need not be trained.
UPSTREAM = {
    "download_corpus": (),
    "build_tokenizer": ("download_corpus",),
    "tokenize_corpus": ("build_tokenizer",),
    "pretrain": ("tokenize_corpus",),
    "download_weights": ("tokenize_corpus",),
    "prepare_sms": (),
    "finetune_classifier": ("prepare_sms", "download_weights"),
    "prepare_instructions": (),
    "finetune_instructions": ("prepare_instructions", "download_weights"),
    "generate_responses": ("finetune_instructions",),
    "judge_responses": ("generate_responses",),
}


class BookProfile:
    """Runs the stages' own scripts with profiles/book.yaml as params.yaml and reads what they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[str] = set()
        shutil.copyfile(ROOT / "profiles/book.yaml", folder / "params.yaml")
        for name in ("dvc.yaml", "src", "stages"):  # what a stage looks at in the project's folder
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)

    @property
    def params(self) -> Params:
        return load_params(self.folder / "params.yaml")

    def run(self, stage: str) -> Path:
        """Run a stage and what it needs, once; return the folder. Raises CalledProcessError if it fails."""
        for earlier in UPSTREAM[stage]:
            self.run(earlier)
        if stage not in self.done:
            print(f"running {stage} ...", file=sys.stderr, flush=True)
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            mirror = os.environ.get("SCRATCHLM_MIRROR", "")
            if mirror and "://" not in mirror:
                environment["SCRATCHLM_MIRROR"] = str((ROOT / mirror).resolve())
            command = [sys.executable, "-m", "scratchlm.stage", f"stages/{stage}.py"]
            subprocess.run(command, cwd=self.folder, env=environment, check=True, stdout=sys.stderr)
            self.done.add(stage)
        return self.folder

    def metrics(self, stage: str) -> dict[str, Any]:
        """Return what a stage wrote to metrics/."""
        return dict(json.loads((self.run(stage) / f"metrics/{stage}.json").read_text(encoding="utf-8")))

    def curve(self, stage: str, name: str) -> dict[int, tuple[float, float]]:
        """Return step -> (training loss, validation loss) of a training's curve."""
        with (self.run(stage) / f"data/plots/{name}.csv").open(encoding="utf-8") as file:
            return {
                int(row["step"]): (float(row["train_loss"]), float(row["validation_loss"]))
                for row in csv.DictReader(file)
            }
