"""Snapshots of a running stage: an interrupted stage resumes from them and ends with the same bytes.

They are not among the stage's outs, which DVC deletes before a run, but in `.checkpoints/STAGE/KEY/` of the project.
KEY is a hash of everything that decides the result: the params, inputs and source that dvc.yaml lists for the stage,
the versions of Python and torch, the kind of device, whether that has bfloat16, and on the CPU the number of threads.
If any of them changes, the stage starts again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import Tensor

from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path, flush
from scratchlm.files.checksum import measure
from scratchlm.files.tensors import save_tensors
from scratchlm.stage.interruption import Interrupted, requested
from scratchlm.stage.processes import any_of, from_first, is_first, leave, summed
from scratchlm.stage.run_key import run_key

DEFAULT_EVERY_S = 60.0  # SCRATCHLM_CHECKPOINT_EVERY_S; at most this much work is lost, or one step if that takes longer
KEPT_SNAPSHOTS = 2  # if the last one is damaged, the one before is used
KEPT_RUNS = 3  # per stage, the newest: interrupted experiments
NOTES = "notes"  # JSON as a tensor of bytes, so that a snapshot is one file
SCRATCH = ".scratch"  # ends the names of files that are of no use once the stage has written its results
DONE = "done"  # marks the snapshots of a stage that has written its results

Tensors = Mapping[str, Tensor]
Notes = Mapping[str, Any]  # fits into JSON


class Snapshots:
    """The snapshots of one run of a stage; only one process at a time writes them.

    A second process that computes the same run works without snapshots. Of several processes that share the work, the
    first writes them; the others call the same methods at the same time.
    """

    def __init__(self, folder: Path, every_s: float = DEFAULT_EVERY_S) -> None:
        self.folder, self.every_s = folder, every_s
        self.last_s = self.asked_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock")
        if not is_first():
            return
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            print(
                f"another process computes the same and writes the snapshots in {folder}; this one saves none",
                file=sys.stderr,
            )

    @property
    def are_kept(self) -> bool:
        """True if it is this process that writes the snapshots of this run."""
        return self.lock.is_locked

    @property
    def latest(self) -> Path | None:
        """The newest snapshot, whichever process has written it; None if there is none."""
        return next(iter(self.paths()), None)

    def is_due(self) -> bool:
        """True if `every_s` could pass before the next step ends, if that takes as long as the last one."""
        now_s = time.monotonic()
        step_s, self.asked_s = now_s - self.asked_s, now_s
        return self.are_kept and now_s + step_s - self.last_s >= self.every_s

    def keep(self, contents: Callable[[], tuple[Tensors, Notes]], position: str, ended: bool = False) -> None:
        """Between two steps: save `contents` if a snapshot is due, the work has `ended`, or a stop was requested.

        If a stop was requested of one of the processes, the first raises Interrupted with the `position`, or
        KeyboardInterrupt if nothing was saved, and the others leave.
        """
        stopping, due = summed(torch.tensor([requested(), self.is_due()]).int()).tolist()
        if stopping or due or ended:
            self.save(*contents())
        if stopping:
            leave()
        if stopping and not self.are_kept:
            raise KeyboardInterrupt
        if stopping:
            raise Interrupted(f"after {position}")

    def save(self, tensors: Tensors, notes: Notes) -> None:
        """Write a snapshot of tensors, and of notes that fit into JSON. Raises InputError if there is no room."""
        if not self.are_kept:
            return
        noted = torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8)
        new = self.folder / "new.safetensors"  # a fixed name: what a killed process left of it gets removed
        try:
            with atomic_path(new) as temporary:
                save_tensors(temporary, {**tensors, NOTES: noted})
        except (OSError, InputError) as error:
            raise InputError(
                f"cannot write a snapshot: {error}; make room, then run again to resume from the one before it"
            ) from None
        number = max((number_of(path) for path in self.paths()), default=0) + 1
        # The hash in the name shows whether a file is damaged.
        path = self.folder / f"{number:08d}-{measure(new)[1][:16]}.safetensors"
        new.replace(path)
        flush(self.folder)
        for old in self.paths()[KEPT_SNAPSHOTS:]:
            old.unlink()
        self.last_s = self.asked_s = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and notes of the newest undamaged snapshot, or None; damaged ones are reported and removed."""
        newest = next(self.undamaged(), None) if self.are_kept else None
        name = from_first(newest and newest.name)  # all processes read the same
        if name is None:
            return None
        tensors = load_file(self.folder / name)
        return tensors, json.loads(tensors.pop(NOTES).numpy().tobytes())

    def undamaged(self) -> Iterator[Path]:
        """Yield the snapshots, newest first; damaged ones are reported and removed."""
        for path in self.paths():
            if measure(path)[1][:16] == path.stem.rpartition("-")[2]:
                yield path
                continue
            print(
                f"{path} is damaged and was removed: resuming from the one before it, or from the start",
                file=sys.stderr,
            )
            path.unlink()

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` returns, after a round trip through JSON; a resumed run does not compute it again.

        Several processes compute it all, and get what the first returns.
        """
        if not any_of(self.are_kept):
            return from_first(compute())
        part = Snapshots(self.folder / name)
        saved = part.load()
        if saved is None:
            saved = {}, json.loads(json.dumps({name: compute()}))
            part.save(*saved)
        part.lock.release()
        return from_first(saved[1][name])

    def scratch_file(self, name: str) -> IO[bytes]:
        """Open a file of this run to be read, and written at its end; it holds what an interrupted run has written.

        `finish` removes it. Without snapshots it is a file without a name, which is gone when it is closed. Of a file
        that was written by a killed process, as much is there as it wrote, in order; a power cut may lose the end.
        """
        if not self.are_kept:
            return tempfile.TemporaryFile("a+b", dir=self.folder)
        return (self.folder / f"{name}{SCRATCH}").open("a+b")

    def paths(self) -> list[Path]:
        """Return the snapshots, newest first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"), key=number_of, reverse=True)

    def finish(self) -> None:
        """Mark the stage as done: it has written its results. The next stage that opens snapshots removes these.

        They stay until then, because a kill before DVC has stored the results would lose all work.
        """
        if self.are_kept:
            for old in self.paths()[1:]:
                old.unlink()
            for scratch in self.folder.glob(f"*{SCRATCH}"):
                scratch.unlink()
            (self.folder / DONE).touch()
            self.lock.release()


def number_of(path: Path) -> int:
    """Return the number of a snapshot, from its name."""
    return int(path.name.partition("-")[0])


def age_s(folder: Path) -> float:
    """Return the seconds since a run last wrote a snapshot; infinity if another process has removed its folder."""
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def open_snapshots(stage: str, device: torch.device) -> Snapshots:
    """Open the snapshots of the run that dvc.yaml, params.yaml and the files of the current folder describe.

    Removes the snapshots of stages that are done, and of all but the newest three runs of this stage.
    """
    root = checkpoints() / stage
    folder = root / from_first(run_key(stage, device) if is_first() else None)
    snapshots = Snapshots(folder, read_every_s())
    if not is_first():
        return snapshots
    done = [path.parent for path in root.parent.glob(f"*/*/{DONE}")]
    for forgotten in [*done, *sorted(root.iterdir(), key=age_s)[KEPT_RUNS:]]:
        if forgotten != folder:
            remove_unless_in_use(forgotten)
    return snapshots


def checkpoints() -> Path:
    """Return the folder of the project for what runs of stages need until they are done."""
    return Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints"


def remove_unless_in_use(folder: Path) -> None:
    """Remove what another run keeps in a folder, unless a process holds its lock."""
    try:
        with FileLock(folder / "lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, FileNotFoundError):
        pass


def read_every_s() -> float:
    """Return SCRATCHLM_CHECKPOINT_EVERY_S, seconds between snapshots; raise InputError if it is no number from 0."""
    given = os.environ.get("SCRATCHLM_CHECKPOINT_EVERY_S") or DEFAULT_EVERY_S
    try:
        every_s = float(given)
    except ValueError:
        every_s = -1.0
    if not every_s >= 0:
        raise InputError(f"SCRATCHLM_CHECKPOINT_EVERY_S is {given!r}, expected a number of seconds, such as 60")
    return every_s
