"""The user's own files in inputs/: whether the experiments of a sweep would have them as they are."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratchlm.errors import InputError

INPUTS = Path("inputs")
NOTE = ".dvc"  # suffix of what `dvc add` writes beside a file


def require_kept(repo: Any) -> None:
    """Raise InputError that lists what in inputs/ of an open DVC project neither Git nor DVC keeps as it is.

    An experiment runs in a copy of the project that lacks those files. And a finished one is compared with what Git
    tracks, so that it would seem to be of the present files.
    """
    problems = dict(sorted(_problems(repo)))
    if problems:
        lines = "".join(f"\n  - {path}: {problem}" for path, problem in problems.items())
        raise InputError(
            f"experiments have only what Git and DVC keep, which is not what {INPUTS}/ holds:{lines}\n"
            f"run `dvc add {shlex.join(problems)}`, commit, then run the sweep again"
        )


def _problems(repo: Any) -> Iterator[tuple[str, str]]:
    from dvc.fs import localfs

    root = Path(repo.root_dir)
    notes = [stage for stage in repo.index.stages if Path(stage.path).is_relative_to(root / INPUTS)]
    tracked = _tracked(root)
    kept = set()
    for note in notes:
        for out in note.outs:
            path = Path(out.fs_path)
            kept.add(path)
            if Path(note.path) not in tracked:
                yield _name(path, root), f"Git does not track its note {_name(Path(note.path), root)}"
            elif path.exists() and out.status():  # else it was deleted here, and experiments have it still
                yield _name(path, root), "changed since `dvc add`, or lost from DVC's cache"
    for folder, _, names in repo.dvcignore.walk(localfs, str(root / INPUTS)):
        for path in (Path(folder, name) for name in names):
            known = path in tracked or path.suffix == NOTE or path.name.startswith(".git")
            if not known and kept.isdisjoint([path, *path.parents]):
                yield _name(_whole(path, root, tracked), root), "not kept"


def _whole(path: Path, root: Path, tracked: set[Path]) -> Path:
    """Return the folder in inputs/KIND/ that holds a file if `dvc add` can take it as a whole, else the file."""
    folder = root.joinpath(*path.relative_to(root).parts[:3])
    return path if any(one.is_relative_to(folder) for one in tracked) else folder


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _tracked(root: Path) -> set[Path]:
    """List the files in inputs/ that Git tracks."""
    listing = ["git", "ls-files", "-z", "--", str(INPUTS)]
    done = subprocess.run(listing, cwd=root, capture_output=True, text=True, encoding="utf-8", check=True)
    return {root / name for name in done.stdout.split("\0") if name}
