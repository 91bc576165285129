"""Charts of figures from 0 to 100 with their intervals: of each model, and in it of each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.report.blocks import Block, Chart, Key
from scratchlm.report.drawing import INK, MODELS, SERIES, WIDTH_IN, draw
from scratchlm.report.run import Run

Row = tuple[str, float, float | None, float | None, str]  # label, value, its 95 % interval, colour


def interval_chart(
    runs: Sequence[Run],
    stage: str,
    title: str,
    label: str,
    note: str,
    value: str = "mean",
    prefix: str = "",
    chance: float | None = None,
) -> Iterator[Block]:
    """Yield the chart of a figure of all models, and for several runs, before it, which one has which colour.

    The figure is `value` of the models in the stage's metrics, the ends of its interval are named with the `prefix`.
    Yields nothing where no run has the figure.
    """
    rows: list[Row] = []
    for variant in VARIANTS:
        name: str = variant  # only the first row of a model has its name
        for number, run in enumerate(runs):
            found = run.figure(f"{stage}.{variant}")
            if found and found[value] is not None:
                color = MODELS[variant] if len(runs) == 1 else SERIES[number % len(SERIES)]
                rows.append((name, found[value], found[f"{prefix}ci95_low"], found[f"{prefix}ci95_high"], color))
                name = ""
    if rows:
        if len(runs) > 1:
            yield Key([run.name for run in runs])
        yield Chart(title, draw_intervals(stage, rows, label, chance), note)


def draw_intervals(name: str, rows: Sequence[Row], label: str, chance: float | None = None) -> Markup:
    """Draw the rows from top to bottom; `chance` is drawn as a line."""

    def paint(axes: Axes) -> None:
        for place, (_, value, low, high, color) in enumerate(rows):
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="round")
            axes.plot(value, place, "o", color=color, markersize=8)
        if chance is not None:
            axes.axvline(chance, color=INK, linestyle="--", linewidth=1, label="chance")
            axes.legend(loc="lower right")
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)

    return draw(name, (WIDTH_IN, 0.9 + 0.34 * len(rows)), paint)
