"""A user's own files: those in `inputs/`, where DVC sees every change, and those anywhere else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from scratchlm.errors import InputError
from scratchlm.files.folders import from_root

SHOWN_NAMES = 3


def own_paths(named: Sequence[str], inputs: Path, stage: str, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """Resolve a user's own files, and folders of files with these suffixes; warn once if DVC does not track them all.

    `inputs` is the folder that dvc.yaml lists as a dependency of `stage`, relative to the current folder. A queued
    experiment runs in a copy of the project, so what is in `inputs` is taken from there, as it was when the experiment
    was queued. Any other path is relative to the repository's root.

    Raises InputError for what cannot be a path, and for a file of the project that the copy lacks.
    """
    paths, untracked = [], []
    for name in named:
        path = from_root(name)
        tracked = _tracked_path(path, inputs)
        if tracked is None:
            untracked.append(name)
        else:
            _check_copy(path, tracked, inputs, suffixes)
        paths.append(tracked or path)
    if untracked:
        print(
            f"{stage}: warning: DVC does not notice changes of {', '.join(untracked)}: put it into {inputs}/ and name "
            f"it there, or run `dvc repro --force {stage}` after each change",
            file=sys.stderr,
        )
    return paths


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files with one of the suffixes in a folder and its subfolders, sorted.

    Linked subfolders are left out, as DVC does not read them. So are hidden ones: .dvcignore has Jupyter's.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parent.parts)
    )


def _tracked_path(path: Path, inputs: Path) -> Path | None:
    """Return the current folder's copy of a path in the project's `inputs`, or None if DVC does not track the path."""
    path, project_inputs = Path(os.path.normpath(path)), from_root(str(inputs))
    if not path.is_relative_to(project_inputs):
        return None
    copy = inputs.absolute() / path.relative_to(project_inputs)
    folder = copy if copy.is_dir() else copy.parent  # DVC reads a linked file, but not what is in a linked folder
    return copy if folder.resolve().is_relative_to(inputs.resolve()) else None


def _check_copy(path: Path, copy: Path, inputs: Path, suffixes: tuple[str, ...]) -> None:
    """Raise InputError if a file at or in `path` is missing at or in its copy, which a queued experiment reads."""
    files = files_in(path, suffixes) if path.is_dir() else [path] if path.exists() else []
    missing = [copy / file.relative_to(path) for file in files if not (copy / file.relative_to(path)).exists()]
    if missing:
        # DVC can keep a subfolder as a whole: what to add is the first name below `inputs`.
        adds = {f"{inputs}/{file.relative_to(inputs.absolute()).parts[0]}": None for file in missing}
        names = " ".join(map(shlex.quote, list(adds)[:SHOWN_NAMES]))
        more = f" and {len(adds) - SHOWN_NAMES} more" if len(adds) > SHOWN_NAMES else ""
        raise InputError(
            f"{missing[0]} is missing: an experiment in the queue has only the files that Git or DVC keeps; run "
            f"`dvc add {names}`{more} in the project's folder, then queue the experiment again"
        )
