"""A user's own files: those in `inputs/`, where DVC sees every change, and those anywhere else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from scratchlm.errors import InputError
from scratchlm.files.folders import from_root


def own_paths(named: Sequence[str], inputs: Path, stage: str) -> list[Path]:
    """Resolve a user's own files and folders; print one warning if DVC does not track all of them.

    `inputs` is the folder that dvc.yaml lists as a dependency of `stage`, relative to the current folder. A queued
    experiment runs in a copy of the project, so what is in `inputs` is taken from there, as it was when the experiment
    was queued. Any other path is relative to the repository's root.

    Raises InputError for what cannot be a path, for what a queued experiment lacks, and for a folder of which it
    would have only a part.
    """
    paths, untracked = [], []
    for name in named:
        path = from_root(name)
        tracked = _tracked_path(path, inputs)
        if tracked is None and path.exists():
            untracked.append(name)
        elif tracked is not None:
            _check_tracked(name, path, tracked, inputs)
        paths.append(tracked or path)
    if untracked:
        print(
            f"{stage}: warning: DVC does not notice changes of {', '.join(untracked)}: put it into {inputs}/ and name "
            f"it there, or run `dvc repro --force {stage}` after each change",
            file=sys.stderr,
        )
    return paths


def _tracked_path(path: Path, inputs: Path) -> Path | None:
    """Return the same path in the current folder's `inputs`; None if DVC does not track it there."""
    path, project_inputs = Path(os.path.normpath(path)), from_root(str(inputs))
    if not path.is_relative_to(project_inputs):
        return None
    here = inputs.absolute() / path.relative_to(project_inputs)
    folder = here if here.is_dir() else here.parent  # DVC reads a linked file, but not what is in a linked folder
    return here if folder.resolve().is_relative_to(inputs.resolve()) else None


def _check_tracked(name: str, path: Path, here: Path, inputs: Path) -> None:
    """Raise InputError for what a queued experiment lacks, or of which it would have only a part without a warning.

    An experiment has what was added with `dvc add`. A file that comes into a folder later is part of it only if the
    folder was added as a whole.
    """
    below = here.relative_to(inputs.absolute())
    if not below.parts:
        raise InputError(f"{name} is where files and folders of your own belong: name those, as in {inputs}/mine")
    if here.is_dir() and (notes := sorted(here.rglob("*.dvc"))):
        note = shlex.quote(str(inputs / notes[0].relative_to(inputs.absolute())))
        raise InputError(
            f"only a part of {name} was added to DVC, so that queued experiments would miss the rest: run "
            f"`dvc remove {note}`, then `dvc add {shlex.quote(str(inputs / below))}`"
        )
    if path.exists() and not here.exists():
        raise InputError(
            f"{name} is not in this experiment, which has only the files that Git or DVC keeps: run "
            f"`dvc add {shlex.quote(str(inputs / below))}` in the project's folder, then queue the experiment again"
        )
