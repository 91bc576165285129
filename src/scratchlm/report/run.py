"""What one revision's run left: its params, metrics, tables, texts, and the hashes of its data."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scratchlm.errors import InputError, OutputError
from scratchlm.files.revisions import WORKSPACE, files_of
from scratchlm.files.text import one_line
from scratchlm.judging.comparison import RESPONSES, VERDICTS
from scratchlm.params.file import PARAMS

METRICS = "metrics"
PAIRWISE = "data/pairwise.json"
# What the report reads of each stage beside its metrics.
OUTPUTS = {
    "data/plots/pretrain.csv": "pretrain",
    "data/samples/pretrain.md": "pretrain",
    "data/plots/attention.png": "visualize_model",
    "data/samples/bases.md": "download_weights",
    "data/plots/classifier_loss.csv": "finetune_classifier",
    "data/plots/classifier_accuracy.csv": "finetune_classifier",
    "data/plots/classifier_confusion.csv": "finetune_classifier",
    "data/plots/finetune_instructions.csv": "finetune_instructions",
    "data/samples/assistant.md": "finetune_instructions",
    "data/plots/tune_preferences.csv": "tune_preferences",
    "data/samples/preferred.md": "tune_preferences",
    RESPONSES: "generate_responses",
    VERDICTS: "judge_responses",
    PAIRWISE: "judge_responses",
    "data/plots/benchmark.csv": "benchmark_models",
}
PINS = "constraints.txt"
PROFILES = "profiles"
ERROR_CHARS = 200
COMMIT_CHARS = 7


@dataclass(frozen=True)
class Run:
    """What one revision holds."""

    name: str  # as the user named it
    commit: str | None  # None for the workspace
    params: Mapping[str, Any]  # those that its stages ran with, by keys such as `model.emb_dim`
    outdated: Mapping[str, Sequence[str]]  # by stage, the params and other stages' outputs that it ran with others of
    profiles: Mapping[str, Mapping[str, Any]]  # as params, by name
    pins: Mapping[str, str]  # versions of packages
    hashes: Mapping[str, str]  # MD5 of the stages' outputs, by path
    metrics: Mapping[str, Any]  # by stage
    files: Mapping[str, bytes]  # those of OUTPUTS that are there as the stages wrote them
    stages: Sequence[str]  # that have run
    waiting: Sequence[str]  # that have not
    lost: Sequence[str]  # metrics that dvc.lock names and that are gone
    changed: Sequence[str]  # files and metrics that are there, but are not those that dvc.lock names

    @property
    def title(self) -> str:
        """The name with the commit that it stands for."""
        return self.name if self.commit is None else f"{self.name} ({self.commit})"

    def figure(self, name: str) -> Any:
        """Return a figure such as `judge_responses.assistant.mean`; None if it is not there."""
        found: Any = self.metrics
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def text(self, path: str) -> str:
        """Return a text among OUTPUTS, "" if it is missing; raise OutputError for what is no text."""
        try:
            return self.files.get(path, b"").decode()
        except UnicodeDecodeError:
            raise OutputError(f"{path} of {self.name} is not UTF-8") from None

    def table(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a CSV file among OUTPUTS, none if it is missing."""
        return list(csv.DictReader(io.StringIO(self.text(path), newline="")))

    def numbers(self, path: str) -> dict[str, list[float]]:
        """Return a CSV file of numbers by column; raise OutputError for one with something else in it."""
        rows = self.table(path)
        try:
            return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else {})}
        except (TypeError, ValueError):
            raise OutputError(f"{path} of {self.name} is no table of numbers") from None

    def records(self, path: str) -> list[Any]:
        """Return the objects of a JSON file among OUTPUTS, none if it is missing; raise OutputError for another."""
        if path not in self.files:
            return []
        try:
            found = json.loads(self.text(path))
        except (ValueError, RecursionError) as error:
            raise OutputError(f"{path} of {self.name} is not valid JSON ({one_line(error, ERROR_CHARS)})") from None
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise OutputError(f"{path} of {self.name} is no list of objects")
        return found


def read_run(repo: Any, revision: str) -> Run:
    """Read what a revision of an open DVC project holds; nothing is checked out.

    Raises InputError for an unknown revision, and for one in which no stage has run.
    """
    with files_of(repo, revision) as files:
        stages = {stage.name: stage for stage in repo.index.stages if getattr(stage, "name", None)}
        ran = [name for name, stage in stages.items() if any(out.hash_info for out in stage.outs)]
        if not ran:
            raise InputError(
                f"{revision} has no results, for none of its stages has run: run `make repro`, or name another revision"
            )
        by_stage = {name: _flat(dict(_params_of(stages[name]))) for name in ran}
        present = _flat(_read_yaml(files, str(PARAMS)))
        hashes = {str(out.def_path): out.hash_info.value for name in ran for out in stages[name].outs if out.hash_info}
        outdated = {
            name: [
                *(key for key in found if present.get(key) != found[key]),
                *(path for path, value in _inputs_of(stages[name]) if hashes.get(path, value) != value),
            ]
            for name, found in by_stage.items()
        }
        # Where stages ran with different values, the present one is the run's.
        used = {key: value for found in by_stage.values() for key, value in found.items()}
        params = used | {
            key: present[key]
            for found in by_stage.values()
            for key in found
            if key in present and found[key] == present[key]
        }
        shown = [path for path in hashes if path in OUTPUTS or path.startswith(f"{METRICS}/")]
        found_files = {path: content for path in shown if (content := _read(files, path))}
        contents = {path: content for path, content in found_files.items() if _md5(content) == hashes[path]}
        metrics = {name: _json_of(contents, f"{METRICS}/{name}.json", revision) for name in ran}
        return Run(
            name=revision,
            commit=None if revision == WORKSPACE else repo.get_rev()[:COMMIT_CHARS],
            params=params,
            outdated={name: keys for name, keys in outdated.items() if keys},
            profiles=dict(_profiles(files)),
            pins=dict(re.findall(r"^([\w.-]+)==(\S+)", _read(files, PINS).decode(), re.MULTILINE)),
            hashes=hashes,
            metrics={stage: found for stage, found in metrics.items() if found},
            files={path: contents[path] for path in OUTPUTS if path in contents},
            stages=ran,
            waiting=[name for name in stages if name not in by_stage],
            lost=[path for path in shown if path.startswith(f"{METRICS}/") and path not in found_files],
            changed=[path for path in found_files if path not in contents],
        )


def unfinished(runs: Sequence[Run]) -> list[str]:
    """Say, a sentence each, which stages of a run have not run, which metrics are gone, and what is of another run."""
    lines = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        if run.waiting:
            lines.append(f"{prefix}not run yet: {', '.join(run.waiting)}. `make repro` runs what is missing.")
        if run.lost:
            lines.append(f"{prefix}missing: {', '.join(run.lost)}. `make repro` makes it again.")
        if run.changed:
            remedy = " `dvc checkout` brings it back, `make repro` makes it again." if run.commit is None else ""
            lines.append(
                f"{prefix}left out, for it is not what the run in dvc.lock wrote: {', '.join(run.changed)}.{remedy}"
            )
    return lines


def missing(runs: Sequence[Run], *paths: str) -> list[str]:
    """Say which of some outputs are missing in which run, a sentence for each stage, and what to do."""
    lines = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        gone = [path for path in paths if path not in run.files and path not in run.changed]
        for stage in dict.fromkeys(OUTPUTS[path] for path in gone):
            if stage not in run.stages:
                lines.append(f"{prefix}{stage} has not run: `dvc repro {stage}` runs it.")
                continue
            lost = ", ".join(path for path in gone if OUTPUTS[path] == stage and path in run.hashes)
            if not lost:
                continue  # it made no such thing in that revision
            remedy = f"; `dvc repro {stage}` makes it again" if run.commit is None else ""
            lines.append(f"{prefix}{lost}: neither DVC's cache nor its remote holds what {stage} made{remedy}.")
    return lines


def _params_of(stage: Any) -> Iterator[tuple[str, Any]]:
    """Yield the params that a stage ran with, from dvc.lock."""
    from dvc.dependency import ParamsDependency

    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency) and dependency.hash_info:
            yield from dependency.hash_info.value.items()


def _inputs_of(stage: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths that a stage read, and the hashes that they had, from dvc.lock."""
    for dependency in stage.deps:
        if dependency.hash_info and isinstance(dependency.hash_info.value, str):
            yield str(dependency.def_path), dependency.hash_info.value


def _flat(found: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _profiles(files: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(files.glob(f"/{PROFILES}/*.yaml")):
        name = path.rpartition("/")[2].removesuffix(".yaml")
        yield name, _flat(_read_yaml(files, f"{PROFILES}/{name}.yaml"))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read(files: Any, path: str) -> bytes:
    try:
        content: bytes = files.cat_file(f"/{path}")
    except FileNotFoundError:
        return b""
    return content


def _read_yaml(files: Any, path: str) -> Any:
    try:
        found = YAML(typ="safe", pure=True).load(_read(files, path))
    except (YAMLError, ValueError):
        return {}  # of a params.yaml with mistakes all keys have changed, which the report says
    return found if isinstance(found, dict) else {}


def _json_of(contents: Mapping[str, bytes], path: str, revision: str) -> Any:
    try:
        found = json.loads(contents.get(path, b"{}"))
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{path} of {revision} is not valid JSON ({one_line(error, ERROR_CHARS)})") from None
    return found if isinstance(found, dict) else {}
