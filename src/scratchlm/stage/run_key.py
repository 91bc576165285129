"""The key of a run: a hash of everything that decides what a stage computes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from pathspec import GitIgnoreSpec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scratchlm.errors import InputError
from scratchlm.stage.device import has_bfloat16
from scratchlm.stage.processes import n_threads


def run_key(stage: str, device: torch.device) -> str:
    """Hash what decides what a stage computes: params, inputs, source, versions, device; on the CPU also threads.

    Raises InputError if the current folder lacks what dvc.yaml lists for the stage.
    """
    described = described_stage(stage)
    values = listed_params(stage, described.get("params", []))
    digest = hashlib.sha256()
    # What `precision: auto` becomes is up to the machine: a training must not go on in another precision.
    automatic = "bfloat16" if has_bfloat16(device) else "float32"
    # Not how many processes share the work: one goes on where two have stopped.
    threads = n_threads() if device.type == "cpu" else None
    machine = [torch.__version__, platform.python_version(), device.type, threads, automatic]
    digest.update(json.dumps([values, machine], sort_keys=True).encode())
    deps = [Path(dep) for dep in described["deps"]]
    for path in deps:
        if not path.exists():
            raise InputError(
                f"{path.absolute()} is missing, which dvc.yaml lists for {stage}: run {stage} in the project's folder; "
                "`make repro` there builds what stages write"
            )
    for path in files_of(deps):
        digest.update(f"{path.as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def described_stage(stage: str) -> dict[str, Any]:
    """Return the entry of a stage in the current folder's dvc.yaml; raise InputError if there is none."""
    path = Path("dvc.yaml").absolute()
    try:
        described: dict[str, Any] = YAML(typ="safe", pure=True).load(path)["stages"][stage]
    except (FileNotFoundError, YAMLError, LookupError, TypeError) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"describes no stage {stage}"
        raise InputError(
            f"{path} {problem}: it says what decides the result of {stage}, so run that in the project's folder "
            "(`make repro` does)"
        ) from None
    return described


def listed_params(stage: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of keys such as `model.emb_dim` from params.yaml; raise InputError if one is missing."""
    params = YAML(typ="safe", pure=True).load(Path("params.yaml"))
    values = {}
    for key in keys:
        try:
            values[key] = reduce(getitem, key.split("."), params)
        except (LookupError, TypeError):
            raise InputError(
                f"params.yaml has no {key}, which dvc.yaml lists for {stage}: give it a value, or take it off there"
            ) from None
    return values


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the given files and all files in the given folders, in a fixed order.

    In folders, files that `.dvcignore` names are skipped, as DVC does: a `__pycache__` must not change the key.
    """
    dvcignore = Path(".dvcignore")
    ignored = GitIgnoreSpec.from_lines(dvcignore.read_text(encoding="utf-8").splitlines() if dvcignore.exists() else ())
    for path in paths:
        if path.is_dir():
            inner = sorted(inner for inner in path.rglob("*") if inner.is_file())
            yield from (file for file in inner if not ignored.match_file(file))
        else:
            yield path
