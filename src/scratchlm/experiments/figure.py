"""The plot of a set: the compared metric of each experiment, the baseline, and what is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scratchlm.experiments.results import Result
from scratchlm.experiments.sets import ExperimentSet
from scratchlm.stage.picture import PLAIN, picture

BLUE, ORANGE, GREY = "tab:blue", "tab:orange", "0.6"
ROW_IN = 0.32  # height of an experiment


def draw_set(path: Path, experiments: ExperimentSet, results: Sequence[Result]) -> None:
    """Draw the compared metric as PNG, an experiment per row, the first at the top.

    A whisker is the 95 % interval of the difference to the baseline, or the standard deviation over seeds. An
    experiment without a result has only its name, and its published value if there is one.
    """
    name = experiments.compared
    labels = [result.experiment.label for result in results]
    height = 1.6 + ROW_IN * len(results)
    with picture(path, (8.0, height), experiments.description, "constrained") as figure:
        axes = figure.subplots()
        measured = [(row, result) for row, result in enumerate(results) if name in result.figures]
        for row, result in measured:
            value, difference = result.figures[name], result.difference
            if difference is not None and difference.low is not None and difference.high is not None:
                below, above = difference.value - difference.low, difference.high - difference.value
            else:
                below = above = value.deviation or 0.0
            axes.errorbar(value.value, row, xerr=[[below], [above]], fmt="none", ecolor=BLUE, capsize=3, elinewidth=1)
        places = [row for row, _ in measured]
        axes.plot(
            [result.figures[name].value for _, result in measured], places, "o", color=BLUE, label="measured here"
        )
        for result in results:
            if result.experiment.name == experiments.baseline and name in result.figures:
                axes.axvline(result.figures[name].value, color=GREY, linestyle="--", linewidth=1, label="baseline")
        known = [(row, result.experiment.published.get(name)) for row, result in enumerate(results)]
        published = [(row, value) for row, value in known if value is not None]
        if published:
            rows, values = zip(*published, strict=True)
            axes.plot(values, rows, "x", color=ORANGE, label="published")
        axes.set_yticks(range(len(labels)), labels, fontsize=9, **PLAIN)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel(f"{name} ({experiments.metrics[name]})")
        axes.grid(axis="x", color="0.93")
        axes.set_axisbelow(True)
        if measured or published:
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
