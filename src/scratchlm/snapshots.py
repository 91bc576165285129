"""Snapshots of a running stage, so that an interrupted one goes on where it stopped and ends with the same bytes.

They lie outside the stage's outs, which DVC deletes before a run: in `.checkpoints/STAGE/KEY/` of the project, where
KEY is a hash of all that decides the result: the stage's params, inputs and source as dvc.yaml lists them, the
versions that compute, the device and the number of threads. A change of any of them starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from safetensors.torch import load_file, save
from torch import Tensor

from scratchlm.errors import InputError
from scratchlm.files import atomic_path

DEFAULT_EVERY_S = 60.0  # SCRATCHLM_CHECKPOINT_EVERY_S; the most work that can be lost
KEPT_SNAPSHOTS = 2  # the one before is used where the last is damaged
KEPT_RUNS = 3  # per stage: interrupted experiments, the oldest forgotten first
NOTES = "notes"  # JSON as bytes, so that one file holds all of a snapshot


class Snapshots:
    """The snapshots of one run of a stage; at most one process writes them at a time.

    A second process that computes the same goes without: its result is the same.
    """

    def __init__(self, folder: Path, every_s: float = DEFAULT_EVERY_S) -> None:
        self.folder, self.every_s = folder, every_s
        self.last_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock")
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            print(f"another process computes the same and keeps {folder}: no snapshots here", file=sys.stderr)

    @classmethod
    def of_stage(cls, stage: str, device: torch.device) -> Self:
        """Open the snapshots of the run that the current folder's dvc.yaml, params and files describe."""
        root = Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints" / stage
        folder = root / run_key(stage, device)
        snapshots = cls(folder, read_every_s())
        for forgotten in sorted(root.iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT_RUNS:]:
            if forgotten != folder:
                remove_unless_in_use(forgotten)
        return snapshots

    def is_due(self) -> bool:
        """Tell whether as much time has passed since the last snapshot as may be lost."""
        return self.lock.is_locked and time.monotonic() - self.last_s >= self.every_s

    def save(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Write a snapshot: tensors, and notes that JSON can hold. Raises InputError if there is no room."""
        if not self.lock.is_locked:
            return
        noted = torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8)
        content = save({**{name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, NOTES: noted})
        number = max((number_of(path) for path in self.paths()), default=0) + 1
        # The hash in the name tells a torn or rotten file from a whole one.
        path = self.folder / f"{number:08d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise InputError(
                f"cannot write a snapshot of {len(content):,} bytes to {self.folder} ({error.strerror}): make room, "
                "then run again to go on from the one before"
            ) from None
        for old in self.paths()[KEPT_SNAPSHOTS:]:
            old.unlink()
        self.last_s = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and notes of the last whole snapshot, or None; damaged ones are named and removed."""
        for path in self.paths() if self.lock.is_locked else []:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] == path.stem.rpartition("-")[2]:
                tensors = load_file(path)
                return tensors, json.loads(tensors.pop(NOTES).numpy().tobytes())
            print(f"{path} is damaged: going on from the one before", file=sys.stderr)
            path.unlink()
        return None

    def paths(self) -> list[Path]:
        """List the snapshots, the last one first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"), key=number_of, reverse=True)

    def clear(self) -> None:
        """Remove all: the stage has written its results."""
        if self.lock.is_locked:
            self.lock.release()
            shutil.rmtree(self.folder, ignore_errors=True)


def number_of(path: Path) -> int:
    """Return the number in a snapshot's name."""
    return int(path.name.partition("-")[0])


def remove_unless_in_use(folder: Path) -> None:
    """Remove the snapshots of another run, unless a process keeps them."""
    try:
        with FileLock(folder / "lock", timeout=0):
            pass
    except Timeout:
        return
    shutil.rmtree(folder, ignore_errors=True)


def read_every_s() -> float:
    """Read SCRATCHLM_CHECKPOINT_EVERY_S, seconds between snapshots; raise InputError if it is no such number."""
    given = os.environ.get("SCRATCHLM_CHECKPOINT_EVERY_S") or DEFAULT_EVERY_S
    try:
        every_s = float(given)
    except ValueError:
        every_s = -1.0
    if not every_s >= 0:
        raise InputError(f"SCRATCHLM_CHECKPOINT_EVERY_S is {given!r}, expected seconds, such as 60")
    return every_s


def run_key(stage: str, device: torch.device) -> str:
    """Hash all that decides what a stage computes: params, inputs, source, versions, device and threads."""
    yaml = YAML(typ="safe", pure=True)
    described = yaml.load(Path("dvc.yaml"))["stages"][stage]
    params = yaml.load(Path("params.yaml"))
    digest = hashlib.sha256()
    values = {key: reduce(getitem, key.split("."), params) for key in described.get("params", [])}
    machine = [torch.__version__, platform.python_version(), str(device), torch.get_num_threads()]
    digest.update(json.dumps([values, machine], sort_keys=True).encode())
    for path in files_of(Path(dep) for dep in described["deps"]):
        digest.update(f"{path.as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def files_of(paths: Iterator[Path]) -> Iterator[Path]:
    """Yield every file of files and folders, in a fixed order."""
    for path in paths:
        yield from sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else (path,)
