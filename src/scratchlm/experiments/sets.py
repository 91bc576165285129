"""Named sets of experiments: the files in experiments/, checked like params.yaml before anything runs."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from scratchlm.errors import InputError
from scratchlm.params.file import (
    PARAMS,
    PROFILE,
    bad_combinations,
    check_params,
    check_sections,
    listed,
    read_yaml,
    show_value,
    unknown_key,
)
from scratchlm.params.schema import Params, Section

FOLDER = Path("experiments")
DVC_YAML = Path("dvc.yaml")
SEED = "seed"

# Also a part of the name of a Git reference.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=40)]
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Experiment(Section):
    """One experiment: what differs from params.yaml, and what others have published for it."""

    name: Name
    label: Text
    overrides: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, Number] = Field(default_factory=dict)  # by the heading of a metric
    note: Text | None = None


class ExperimentSet(Section):
    """A file in experiments/; `name` is that of the file, without hyphens, so that `Run.name` tells the set."""

    name: Name
    description: Text
    metrics: Annotated[dict[Text, Text], Field(min_length=1)]  # heading: stage.key, as in metrics/stage.json
    compared: Text  # the heading of the metric whose difference to the baseline is shown
    baseline: Name | None = None
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    common: dict[str, Any] = Field(default_factory=dict)  # overrides of all experiments
    experiments: Annotated[list[Experiment], Field(min_length=1)]

    @property
    def stages(self) -> list[str]:
        """The stages that make the metrics: what an experiment runs, with all that they need."""
        return list(dict.fromkeys(metric.partition(".")[0] for metric in self.metrics.values()))

    @property
    def published(self) -> list[str]:
        """The headings of the metrics for which something is published."""
        return [name for name in self.metrics if any(name in one.published for one in self.experiments)]


@dataclass(frozen=True)
class Run:
    """One run of an experiment, with one seed if the set has seeds."""

    experiment: Experiment
    name: str  # the name that it has for DVC
    overrides: Mapping[str, Any]
    params: Params | None  # None if they do not fit together
    problem: str  # why not


def set_names(root: Path) -> list[str]:
    """List the names of the sets of a project."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def load_set(name: str, root: Path) -> tuple[ExperimentSet, list[Run]]:
    """Read and check a set of the project in the folder `root`, and list its runs under the present params.yaml.

    Raises InputError that lists everything wrong with the file. An experiment whose keys are right, but do not fit
    the present params.yaml, is no mistake of the file: its run has the problem.
    """
    names = set_names(root)
    if name not in names:
        raise InputError(
            f"no set of experiments is named {show_value(name)}, {FOLDER}/ has {', '.join(names) or 'none'}"
        )
    path = FOLDER / f"{name}.yaml"
    if "-" in name:
        raise InputError(
            f"{path}: the name of a set has no hyphen, for hyphens separate the parts of an experiment's name in DVC: "
            f"rename the file to {name.replace('-', '_')}.yaml"
        )
    params = read_yaml(root / PARAMS, PROFILE)
    check_params(params)
    found = read_yaml(root / path, "take one of the files beside it as an example")
    stages = read_yaml(root / DVC_YAML, "`git checkout HEAD dvc.yaml` brings it back")["stages"]
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {show_value(found)}, expected keys such as `experiments:`")
    if "name" in found:
        raise InputError(f"{path}: name: unknown key; a set has the name of its file")
    try:
        experiments = ExperimentSet.model_validate({"name": name} | found, strict=True)
    except ValidationError as error:
        raise InputError(listed(str(path), [_problem(found, detail) for detail in error.errors()])) from None
    if problems := list(_mistakes(experiments, params, stages)):
        raise InputError(listed(str(path), problems))
    return experiments, [run for one in experiments.experiments for run in _runs(experiments, one, params)]


def _problem(found: Mapping[str, Any], detail: Any) -> str:
    location = list(detail["loc"])
    model: type[BaseModel] = ExperimentSet
    if len(location) > 1 and location[0] == "experiments":
        entry = found["experiments"][location[1]]
        named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
        location[:2] = [f"experiments: {entry['name']}" if named else f"experiments: number {location[1] + 1}"]
        model = Experiment
    key = ".".join(map(str, location))
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return unknown_key(tuple(map(str, location)), model)
    if detail["type"] == "missing":
        return f"{key}: missing"
    allowed = detail["msg"].removeprefix("Input should be ")
    return f"{key}: got {show_value(detail['input'])}, allowed: {allowed}"


def _mistakes(experiments: ExperimentSet, params: Mapping[str, Any], stages: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a set whatever the profile is: names, and keys and values of overrides."""
    names = [one.name for one in experiments.experiments]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"experiments: {name}: got {names.count(name)} experiments with this name, allowed: one"
    if experiments.baseline is not None and experiments.baseline not in names:
        yield f"baseline: got {experiments.baseline}, allowed: the name of one of the experiments"
    if experiments.compared not in experiments.metrics:
        yield f"compared: got {experiments.compared}, allowed: {', '.join(experiments.metrics)}"
    for heading, metric in experiments.metrics.items():
        stage, _, key = metric.partition(".")
        if stage not in stages or not key:
            yield f"metrics: {heading}: got {metric}, allowed: STAGE.KEY with a stage of dvc.yaml"
    seeds = experiments.seeds or []
    if len(set(seeds)) < len(seeds):
        yield f"seeds: got {show_value(seeds)}, allowed: different values"
    common = _wrong_keys(params, experiments.common)
    yield from (f"common: {problem}" for problem in common)
    for one in experiments.experiments:
        for problem in _wrong_keys(params, experiments.common | one.overrides):
            if problem not in common:
                yield f"experiments: {one.name}: overrides: {problem}"
        for heading in one.published:
            if heading not in experiments.metrics:
                yield f"experiments: {one.name}: published: got {heading}, allowed: {', '.join(experiments.metrics)}"
        if seeds and SEED in experiments.common | one.overrides:
            yield f"experiments: {one.name}: overrides: seed: the set has seeds already; allowed: one of the two"


def _wrong_keys(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    return check_sections(overridden(params, overrides))[1]


def overridden(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of params in which keys such as `model.emb_dim` have other values."""
    changed: dict[str, Any] = copy.deepcopy(dict(params))
    for key, value in overrides.items():
        *sections, last = key.split(".")
        section = changed
        for name in sections:
            if not isinstance(section.get(name), dict):
                section[name] = {}
            section = section[name]
        section[last] = value
    return changed


def _runs(experiments: ExperimentSet, one: Experiment, params: Mapping[str, Any]) -> Iterator[Run]:
    seeds: Sequence[int | None] = experiments.seeds or [None]
    for seed in seeds:
        name = f"{experiments.name}-{one.name}" + ("" if seed is None else f"-seed-{seed}")
        overrides = experiments.common | one.overrides | ({} if seed is None else {SEED: seed})
        valid, _ = check_sections(overridden(params, overrides))
        problems = sorted(bad_combinations(valid))
        yield Run(one, name, overrides, None if problems else Params(**valid), "; ".join(problems))


def hydra_override(key: str, value: Any) -> str:
    """Write a key and its value as `dvc exp run -S` takes them.

    >>> hydra_override("judge.judges", ["ollama:llama3"]), hydra_override("seed", 7), hydra_override("x", None)
    ("judge.judges=['ollama:llama3']", 'seed=7', 'x=null')
    """
    return f"{key}={_hydra_value(value)}"


def _hydra_value(value: Any) -> str:
    if isinstance(value, str):
        # Hydra takes a backslash as it is, unless a quote follows.
        escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), value)
        return f"'{escaped}'"
    if isinstance(value, Sequence):
        return f"[{','.join(map(_hydra_value, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
