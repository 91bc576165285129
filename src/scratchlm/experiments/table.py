"""The results of a set as one table: as text for a terminal, as Markdown, or as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import pandas as pd

from scratchlm.experiments.results import Figure, Result
from scratchlm.experiments.sets import ExperimentSet

COLUMNS = 80
GAP = "  "
MISSING = "-"
DECIMALS = 2

Rows = list[list[str]]


def as_text(experiments: ExperimentSet, results: Sequence[Result]) -> str:
    """Return the table with at most 80 columns; columns that do not fit follow below, with the names again."""
    compared = experiments.compared
    published = [compared] if compared in experiments.published else []
    header = ["experiment", *experiments.metrics, *_difference_header(experiments), *_published_header(published), "s"]
    rows = [
        [
            result.experiment.name,
            *(show_figure(result.figures.get(heading)) for heading in experiments.metrics),
            *([show_difference(experiments, result)] if experiments.baseline else []),
            *_published(result, published),
            MISSING if result.seconds is None else f"{result.seconds:,.0f}",
        ]
        for result in results
    ]
    lines = [f"{experiments.name}: {experiments.description}", *_blocks([header, *rows])]
    for result in results:
        lines += _footnote(result.experiment.name, result.remark) + _footnote(
            result.experiment.name, result.experiment.note
        )
    return "\n".join(lines) + "\n"


def as_markdown(experiments: ExperimentSet, results: Sequence[Result], missing: str = MISSING) -> str:
    """Return the table for a page: params, all that is published beside what was measured, and remarks below it."""
    measured = [f"{heading}, here" for heading in experiments.metrics]
    published = experiments.published
    header = [
        "experiment",
        "params",
        *_published_header(published),
        *measured,
        *_difference_header(experiments),
        "seconds",
    ]
    rows = [
        [
            result.experiment.label,
            "<br>".join(f"`{key}: {yaml_value(value)}`" for key, value in result.experiment.overrides.items()),
            *_published(result, published),
            *(show_figure(result.figures.get(heading), missing) for heading in experiments.metrics),
            *([show_difference(experiments, result, missing)] if experiments.baseline else []),
            missing if result.seconds is None else f"{result.seconds:,.0f}",
        ]
        for result in results
    ]
    lines = ["|".join(["", *(f" {cell} " for cell in row), ""]) for row in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    remarks = [
        (result.experiment.label, text) for result in results for text in (result.remark, result.experiment.note)
    ]
    notes = [f"- {label}: {text}" for label, text in remarks if text]
    return "\n".join(lines + ([""] if notes else []) + notes) + "\n"


def as_csv(experiments: ExperimentSet, results: Sequence[Result]) -> str:
    """Return the table with a column for each number, with six significant digits; what is missing is empty."""
    rows = []
    for result in results:
        row: dict[str, Any] = {"experiment": result.experiment.name, "label": result.experiment.label}
        figures = {name: result.figures.get(name) for name in experiments.metrics} | {"difference": result.difference}
        for name, figure in figures.items():
            row[name] = figure and figure.value
            row[f"{name}_deviation"] = figure and figure.deviation
        row["difference_low"] = result.difference and result.difference.low
        row["difference_high"] = result.difference and result.difference.high
        row |= {f"{name}_published": result.experiment.published.get(name) for name in experiments.published}
        rows.append(row | {"seconds": result.seconds, "remark": result.remark})
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def yaml_value(value: Any) -> str:
    """Write a value of params.yaml in one line, in YAML's words."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _difference_header(experiments: ExperimentSet) -> list[str]:
    return [f"{experiments.compared} - baseline"] if experiments.baseline else []


def _published_header(headings: Sequence[str]) -> list[str]:
    return ["published"] if len(headings) == 1 else [f"{heading}, published" for heading in headings]


def _published(result: Result, headings: Sequence[str]) -> list[str]:
    values = [result.experiment.published.get(heading) for heading in headings]
    return [MISSING if value is None else f"{value:.{DECIMALS}f}" for value in values]


def show_figure(figure: Figure | None, missing: str = MISSING) -> str:
    """Write a figure, over seeds with its standard deviation."""
    if figure is None:
        return missing
    spread = "" if figure.deviation is None else f" ± {figure.deviation:.{DECIMALS}f}"
    return f"{figure.value:.{DECIMALS}f}{spread}"


def show_difference(experiments: ExperimentSet, result: Result, missing: str = MISSING) -> str:
    """Write the difference to the baseline, with its interval or standard deviation if it has one."""
    if result.experiment.name == experiments.baseline:
        return "baseline"
    figure = result.difference
    if figure is None:
        return missing
    if figure.low is not None and figure.high is not None:
        return f"{figure.value:+.{DECIMALS}f} ({figure.low:+.1f}, {figure.high:+.1f})"
    return f"{figure.value:+.{DECIMALS}f}" + (
        f" ± {figure.deviation:.{DECIMALS}f}" if figure.deviation is not None else ""
    )


def _blocks(rows: Rows) -> Iterator[str]:
    """Yield the lines of a table, the first column to the left, in blocks of columns that fit."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    column = 1
    while column < len(widths):
        end, width = column + 1, widths[0] + len(GAP) + widths[column]
        while end < len(widths) and width + len(GAP) + widths[end] <= COLUMNS:
            width += len(GAP) + widths[end]
            end += 1
        for row in rows:
            cells = [f"{row[place]:>{widths[place]}}" for place in range(column, end)]
            yield GAP.join([f"{row[0]:{widths[0]}}", *cells]).rstrip()
        column = end
        if column < len(widths):
            yield ""


def _footnote(name: str, text: str | None) -> list[str]:
    return wrap(f"{name}: {text}", COLUMNS, subsequent_indent="  ", break_on_hyphens=False) if text else []
