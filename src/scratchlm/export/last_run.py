"""The run that wrote a model folder, as dvc.lock records it: its params, its data, and its figures.

Nothing is said of a folder that has changed since, and no figure that was measured on another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from scratchlm.assistant.instructions import Variant
from scratchlm.errors import InputError
from scratchlm.files.text import read_json
from scratchlm.params.file import PARAMS, read_yaml

LOCK = Path("dvc.lock")
DATA, METRICS = "data/", "metrics/"
BASES_STAGE, OWN_BASE = "download_weights", "pretrained"
BASE = "finetune_instructions.base"  # in the params of the training, and of what measures it
VARIANTS: dict[str, Variant] = {"finetune_instructions": "assistant", "tune_preferences": "preferred"}


class Entry(TypedDict):
    """A file or folder in dvc.lock."""

    path: str
    md5: str
    size: int
    nfiles: NotRequired[int]


class Stage(TypedDict):
    """A stage in dvc.lock: what is read of it here."""

    deps: NotRequired[list[Entry]]
    params: NotRequired[dict[str, dict[str, Any]]]
    outs: NotRequired[list[Entry]]


class Lock(TypedDict):
    """dvc.lock: what is read of it here."""

    stages: NotRequired[dict[str, Stage]]


LOCK_SCHEMA = TypeAdapter(Lock)
Stages = Mapping[str, Stage]  # by name


class Recorded(NamedTuple):
    """A file or folder that a stage read: DVC's md5, which ends in .dir for a folder, and its size."""

    path: str
    md5: str
    size_bytes: int
    n_files: int


class StageOut(NamedTuple):
    """What a stage wrote, as the dvc.lock in `root` records it."""

    root: Path
    stages: Stages
    stage: str
    path: str
    md5: str


@dataclass(frozen=True)
class LastRun:
    """What a run says of one of its model folders."""

    stage: str  # that wrote it
    base: str | None  # from which it was trained, or which it is, one of weights.bases; None for models/pretrained
    variant: Variant  # as which it was judged, if it was
    behind: list[str]  # the stages that made it, the first ones first
    params: dict[str, Any]  # of the stages behind the model, by dotted key, sorted
    data: list[Recorded]  # that these stages read, sorted
    metrics: dict[str, Any]  # by stage: of those behind the model, and of those that measured it


def find_run(folder: Path) -> LastRun | None:
    """Return what the dvc.lock of its project says of a model folder; None if it does not say what is in it now.

    All files of the folder are read. Raises InputError for a dvc.lock that is damaged.
    """
    out = find_out(folder)
    if out is None or tree_md5(out.root / out.path) != out.md5:
        return None
    return describe(out.stages, out.stage, folder.resolve().relative_to(out.root), out.root)


def find_out(path: Path) -> StageOut | None:
    """Return the out of a stage that a path is, or lies in; None if it lies in none.

    The project is the nearest folder above with a dvc.lock. Raises InputError for one that is damaged.
    """
    path = path.resolve()
    root = next((parent for parent in path.parents if (parent / LOCK).is_file()), None)
    if root is None:
        return None
    stages = read_stages(root / LOCK)
    for stage, recorded in stages.items():
        for out in recorded.get("outs", []):
            if path.is_relative_to(root / out["path"]):
                return StageOut(root, stages, stage, out["path"], out["md5"])
    return None


def read_stages(path: Path) -> Stages:
    """Read what a dvc.lock says of all stages; raise InputError for one that is damaged."""
    remedy = f"`git checkout HEAD {LOCK}` brings it back"
    try:
        return LOCK_SCHEMA.validate_python(read_yaml(path, remedy)).get("stages", {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path} is damaged ({place}: {first['msg']}): {remedy}") from None


def describe(stages: Stages, stage: str, folder: Path, root: Path) -> LastRun:
    """Return what is recorded of a stage's model in `folder`, and of the stages behind it."""
    base = folder.name if stage == BASES_STAGE else named_base(stages, stages_behind(stages, stage))
    behind = list(stages_behind(stages, stage, base))
    params = {key: value for name in behind if name != BASES_STAGE for key, value in params_of(stages[name])}
    data = {
        Recorded(dep["path"], dep["md5"], dep["size"], dep.get("nfiles", 1))
        for name in behind
        for dep in stages[name].get("deps", [])
        if dep["path"].startswith(DATA)
    }
    shown = [name for name in stages if name in behind or has_measured(stages, name, stage, base or OWN_BASE)]
    metrics = {name: found for name in sorted(shown) if (found := metrics_of(stages, name, root)) is not None}
    variant = VARIANTS.get(stage, "base")
    return LastRun(stage, base, variant, behind, dict(sorted(params.items())), sorted(data), metrics)


def named_base(stages: Stages, behind: Iterable[str]) -> str | None:
    """Return the base that one of these stages names; None if none does."""
    named = (value for name in behind for key, value in params_of(stages[name]) if key == BASE)
    return next(named, None)


def has_measured(stages: Stages, stage: str, model_stage: str, base: str) -> bool:
    """Whether a stage has read a model of today, itself or by others' outs, and has taken this base for the base."""
    behind = list(stages_behind(stages, stage))
    return model_stage in behind and named_base(stages, reversed(behind)) in (None, base)


def stages_behind(stages: Stages, stage: str, base: str | None = None, seen: set[str] | None = None) -> Iterator[str]:
    """Yield the stages whose outs a stage has read, those of today, and the stage itself, the first ones first.

    With a `base` that was not trained here, what lies behind the bases is left out.
    """
    seen = set() if seen is None else seen
    seen.add(stage)
    made = {(out["path"], out["md5"]): name for name, one in stages.items() for out in one.get("outs", [])}
    if base in (None, OWN_BASE) or stage != BASES_STAGE:
        for dep in sorted(stages[stage].get("deps", []), key=lambda dep: str(dep["path"])):
            maker = made.get((dep["path"], dep["md5"]))
            if maker is not None and maker not in seen:
                yield from stages_behind(stages, maker, base, seen)
    yield stage


def params_of(recorded: Stage) -> Iterator[tuple[str, Any]]:
    """Yield the params of a stage by dotted key; dvc.lock has some as whole sections."""
    for key, value in recorded.get("params", {}).get(str(PARAMS), {}).items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield key, value


def metrics_of(stages: Stages, stage: str, root: Path) -> Any:
    """Return the metrics of a stage; None if the file is not the recorded one."""
    for out in stages[stage].get("outs", []):
        path = root / out["path"]
        if out["path"].startswith(METRICS) and path.is_file() and file_md5(path) == out["md5"]:
            return read_json(path, "the metrics of a stage")
    return None


def tree_md5(folder: Path) -> str | None:
    """Return the md5 that DVC gives a folder: of the JSON list of its files with their md5s; None if there is none."""
    if not folder.is_dir():
        return None
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listed = json.dumps([{"md5": file_md5(path), "relpath": name} for name, path in files], sort_keys=True)
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest() + ".dir"


def file_md5(path: Path) -> str:
    """Return a file's md5, with which DVC names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
