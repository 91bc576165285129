"""The curves of the trainings: one run's train and validation, or several runs' over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scratchlm.report.blocks import Block, Chart, Key, Section, Side
from scratchlm.report.drawing import INK, MODELS, SERIES, TRAIN, VALIDATION, WIDTH_IN, draw
from scratchlm.report.run import OUTPUTS, Run, missing

SIZE_IN = (WIDTH_IN, 3.3)


@dataclass(frozen=True)
class Line:
    """A column of a curve's table."""

    column: str
    label: str
    color: str  # where only one run is shown; else the colour is the run's
    style: str


@dataclass(frozen=True)
class Curve:
    """What to draw of a table."""

    name: str
    title: str
    path: str
    x: str
    y_label: str
    lines: Sequence[Line]
    form: str = ".3f"
    from_zero: bool = True
    level: float | None = None  # a value to compare with
    level_label: str = ""


def _losses(name: str, title: str, path: str, y_label: str, level: float | None = None, level_label: str = "") -> Curve:
    lines = (Line("train_loss", "train", TRAIN, "--"), Line("validation_loss", "validation", VALIDATION, "-"))
    return Curve(name, title, path, "step", y_label, lines, level=level, level_label=level_label)


PER_TOKEN, PER_MESSAGE = "cross entropy (nats per token)", "cross entropy (nats per message)"
TUNED = "data/plots/tune_preferences.csv"
CURVES = (
    _losses("pretrain", "Pretraining", "data/plots/pretrain.csv", PER_TOKEN),
    _losses("instructions", "Instruction tuning", "data/plots/finetune_instructions.csv", PER_TOKEN),
    _losses("classifier-loss", "Classifier: loss", "data/plots/classifier_loss.csv", PER_MESSAGE),
    Curve(
        "classifier-accuracy",
        "Classifier: accuracy",
        "data/plots/classifier_accuracy.csv",
        "epoch",
        "accuracy (%)",
        (Line("train_accuracy", "train", TRAIN, "--"), Line("validation_accuracy", "validation", VALIDATION, "-")),
        form=".2f",
        from_zero=False,
    ),
    _losses("preferences", "Preference tuning: loss", TUNED, "loss (nats per pair)", log(2), "the reference"),
    Curve(
        "rewards",
        "Preference tuning: rewards of validation answers",
        TUNED,
        "step",
        "reward (beta times nats per answer)",
        (
            Line("validation_chosen_reward", "chosen", MODELS["preferred"], "-"),
            Line("validation_rejected_reward", "rejected", VALIDATION, "--"),
        ),
        from_zero=False,
        level=0.0,
        level_label="the reference",
    ),
)


def curves(runs: Sequence[Run]) -> Section:
    """Return the curves of all trainings that any run has."""
    charts = [chart for curve in CURVES if (chart := _chart(curve, runs)) is not None]
    blocks: list[Block] = [Side(charts)] if charts else []
    if charts and len(runs) > 1:
        blocks.insert(0, Key([run.name for run in runs]))
    return Section("curves", "Curves", blocks, missing(runs, *dict.fromkeys(curve.path for curve in CURVES)))


def _chart(curve: Curve, runs: Sequence[Run]) -> Chart | None:
    tables = {run.name: run.numbers(curve.path) for run in runs}
    series = [
        (name, number, line, table[curve.x], table[line.column])
        for number, (name, table) in enumerate(tables.items())
        for line in curve.lines
        if curve.x in table and line.column in table
    ]
    if not series:
        return None

    def paint(axes: Axes) -> None:
        if curve.level is not None:
            axes.axhline(curve.level, color=INK, linewidth=1, linestyle=":", label=curve.level_label)
        for _, number, line, x, y in series:
            color = line.color if len(runs) == 1 else SERIES[number % len(SERIES)]
            axes.plot(x, y, line.style, color=color, marker="o", clip_on=False)
        for line in curve.lines:
            axes.plot([], [], line.style, color=line.color if len(runs) == 1 else INK, label=line.label)
        if curve.from_zero:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(curve.x, color=INK)
        axes.set_ylabel(curve.y_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(visible=False, axis="x")
        axes.legend(fontsize=9)

    note = "; ".join(
        f"{name + ', ' if len(runs) > 1 else ''}{line.label} {y[0]:{curve.form}} → {y[-1]:{curve.form}}"
        for name, _, line, _, y in series
    )
    return Chart(curve.title, draw(curve.name, SIZE_IN, paint), note + _measured_on(curve, runs))


def _measured_on(curve: Curve, runs: Sequence[Run]) -> str:
    """Say why the last point is not the figure of the tables."""
    key = f"{OUTPUTS[curve.path]}.eval_batches"
    counts = " or ".join(dict.fromkeys(str(run.params[key]) for run in runs if key in run.params))
    if not counts:
        return ""
    return (
        f". Points are measured on the first {counts} batches of a split ({key}; with keep best or patience, of train "
        "alone), the figures in the tables on more."
    )
