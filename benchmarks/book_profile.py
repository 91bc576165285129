"""The pipeline with the book profile, in a folder of its own; each stage runs when it is first needed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scratchlm.params.file import load_params
from scratchlm.params.schema import Params

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
# The book does not fine-tune its own pretrained model. download_weights reads it only for the base `pretrained`.
NOT_NEEDED = ("download_weights", "models/pretrained")


def stages_before(stage: str) -> list[str]:
    """Return the stages that write what a stage reads, as dvc.yaml says."""
    made_by = {out: name for name, described in STAGES.items() for out in described.get("outs", [])}
    return [made_by[dep] for dep in STAGES[stage]["deps"] if dep in made_by and (stage, dep) != NOT_NEEDED]


class BookProfile:
    """Runs the stages' own scripts with profiles/book.yaml as params.yaml and reads what they write."""

    def __init__(self, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        """Use a folder that exists; `changes` are keys such as `pretrain.epochs` with other values than the book's."""
        self.folder = folder
        self.done: set[str] = set()
        yaml = YAML()
        params = yaml.load(ROOT / "profiles/book.yaml")
        for key, value in (changes or {}).items():
            section, name = key.split(".")
            params[section][name] = value
        yaml.dump(params, folder / "params.yaml")
        (folder / "inputs/models").mkdir(parents=True, exist_ok=True)
        for name in ("dvc.yaml", "src", "stages"):  # what a stage reads in the project's folder
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)

    @property
    def params(self) -> Params:
        return load_params(self.folder / "params.yaml")

    def run(self, stage: str) -> Path:
        """Run a stage and what it needs, once; return the folder. Raises CalledProcessError if it fails."""
        for earlier in stages_before(stage):
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
