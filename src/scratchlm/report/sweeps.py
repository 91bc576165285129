"""The sets of experiments that have results with the present params, code and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scratchlm.errors import InputError
from scratchlm.experiments.results import Result, read_results
from scratchlm.experiments.sets import ExperimentSet, load_set, set_names
from scratchlm.experiments.table import show_difference, show_figure
from scratchlm.report.blocks import MISSING, Block, Column, Section, Table, Words


def sweeps(repo: Any) -> Section:
    """Return a table for each set of an open DVC project of which something has run."""
    root = Path(repo.root_dir)
    blocks = [block for name in set_names(root) for block in _set(repo, root, name)]
    return Section("sweeps", "Sets of experiments", blocks)


def _set(repo: Any, root: Path, name: str) -> Iterator[Block]:
    try:
        experiments, runs = load_set(name, root)
    except InputError as error:
        yield Words(str(error), is_warning=True)
        return
    results = read_results(repo, experiments, runs)
    if any(result.figures for result in results):
        yield _table(experiments, results)


def _table(experiments: ExperimentSet, results: Sequence[Result]) -> Table:
    """Lay out results as `scratchlm table` does, without the seconds, which are those of one machine and day."""
    published = experiments.published
    columns = [
        Column("experiment", "words"),
        *map(Column, experiments.metrics),
        *([Column(f"{experiments.compared} - baseline")] if experiments.baseline else []),
        *(Column(f"{heading}, published") for heading in published),
        Column("remark", "words"),
    ]
    rows = [
        (
            result.experiment.label,
            *(show_figure(result.figures.get(heading), MISSING) for heading in experiments.metrics),
            *([show_difference(experiments, result, MISSING)] if experiments.baseline else []),
            *(
                MISSING if (value := result.experiment.published.get(heading)) is None else f"{value:.2f}"
                for heading in published
            ),
            result.remark,
        )
        for result in results
    ]
    return Table(f"{experiments.name}: {experiments.description}", columns, rows)
