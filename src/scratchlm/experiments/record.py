"""Which runs of a set are finished, and what the sweep noted of each: its time, or why it failed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scratchlm.errors import InputError
from scratchlm.experiments.sets import DVC_YAML, Run
from scratchlm.files.atomic import write_json
from scratchlm.params.file import PARAMS, check_params, read_yaml
from scratchlm.params.schema import Params

NOTES = Path("logs/sweeps")
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Note:
    """What a sweep measured of a run."""

    revision: str | None = None  # of the finished experiment
    seconds: float | None = None  # that its stages ran; None if all came from DVC's cache, or nobody looked
    problem: str = ""  # why it is not finished; INTERRUPTED if it goes on from there


def read_notes(root: Path, name: str) -> dict[str, Note]:
    """Read the notes on a set's runs, by run; none if they are missing or damaged, for they only inform."""
    try:
        found = json.loads((root / NOTES / f"{name}.json").read_text(encoding="utf-8"))
        return {run: Note(**note) for run, note in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_notes(root: Path, name: str, notes: dict[str, Note]) -> None:
    """Write the notes to logs/sweeps/NAME.json, which Git and DVC leave alone."""
    write_json(root / NOTES / f"{name}.json", {run: asdict(note) for run, note in notes.items()})


def find_finished(repo: Any, runs: Iterable[Run]) -> dict[str, str]:
    """Return the revision of each run that has a finished experiment with its params and the present code.

    The experiments of the present commit come first. Those of other commits count too, so that a commit of a page or
    of results does not take them away.
    """
    from dvc.repo.experiments.utils import exp_refs

    root = Path(repo.root_dir)
    head = repo.scm.get_rev()
    found: dict[str, list[str]] = {}
    for reference in sorted(exp_refs(repo.scm), key=lambda one: one.baseline_sha != head):
        found.setdefault(reference.name, []).append(repo.scm.get_ref(str(reference)))
    finished = {}
    paths = watched_paths(root)
    for run in runs:
        for revision in found.get(run.name, []):
            if run.params is not None and is_current(root, revision, run.params, paths):
                finished[run.name] = revision
                break
    return finished


def is_current(root: Path, revision: str, params: Params, paths: Sequence[str]) -> bool:
    """True if a revision has these params, and the same content as the working tree at all `paths`."""
    shown = _git(root, "show", f"{revision}:./{PARAMS}")
    try:
        same = shown.returncode == 0 and check_params(YAML(typ="safe", pure=True).load(shown.stdout)) == params
    except (InputError, YAMLError):
        return False  # from another version of the project
    return same and _git(root, "diff", "--quiet", revision, "--", *paths).returncode == 0


def watched_paths(root: Path) -> list[str]:
    """List what decides the stages' results beside the params: dvc.yaml, and the code and inputs named there."""
    stages = read_yaml(root / DVC_YAML, "`git checkout HEAD dvc.yaml` brings it back")["stages"]
    return [str(DVC_YAML), *sorted({path for stage in stages.values() for path in stage.get("deps", [])})]


def uncommitted(root: Path) -> list[str]:
    """List the files that Git tracks and that differ from the last commit."""
    lines = _git(root, "status", "--porcelain", "--untracked-files=no").stdout.splitlines()
    return [line[3:] for line in lines]


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8")
