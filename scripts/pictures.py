"""Draw a run's results as one picture: the losses of the three trainings, the classifier's accuracy, the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from scratchlm.files.atomic import atomic_path
from scratchlm.stage.picture import DPI, STYLE

# For each training: title, curve, metrics, label of its loss.
TRAININGS = (
    ("Pretraining on the corpus", "pretrain", "pretrain", "cross entropy (nats per token)"),
    ("Classifier", "classifier_loss", "finetune_classifier", "cross entropy (nats per message)"),
    ("Assistant", "finetune_instructions", "finetune_instructions", "cross entropy (nats per token)"),
)
JUDGED = ("judge_scores", "judge_responses")
# All files that decide the picture.
SOURCES = (
    *(f"data/plots/{curve}.csv" for _, curve, _, _ in TRAININGS),
    *(f"metrics/{metrics}.json" for _, _, metrics, _ in TRAININGS),
    f"data/plots/{JUDGED[0]}.csv",
    f"metrics/{JUDGED[1]}.json",
)
BLUE, ORANGE, GREEN, GREY = "tab:blue", "tab:orange", "tab:green", "0.6"
ANSWERED = {"base": ("base model", GREY), "assistant": ("assistant", BLUE), "preferred": ("preferred", GREEN)}
SIZE_IN = (11.0, 6.4)


def draw_results(path: Path, project: Path, description: str) -> None:
    """Draw the results of the run in a project's folder as a PNG file, with the same bytes for the same numbers.

    `description` is stored in the file and not visible.
    """
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure = Figure(SIZE_IN, DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        figure.suptitle("One run of the sample profile", fontsize=13)
        grid = figure.subplots(2, 3)
        for axes, (title, curve, metrics, y_label) in zip(grid[0], TRAININGS, strict=True):
            draw_losses(axes, title, read_table(project, curve), read_metrics(project, metrics), y_label)
        draw_accuracy(grid[1][0], read_metrics(project, TRAININGS[1][2]))
        judged = read_metrics(project, JUDGED[1])
        draw_means(grid[1][1], judged)
        draw_scores(grid[1][2], read_table(project, JUDGED[0]))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None, "Description": description})


def read_table(project: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(project / "data/plots" / f"{name}.csv")


def read_metrics(project: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "metrics" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def draw_losses(axes: Axes, title: str, curve: pd.DataFrame, metrics: dict[str, Any], y_label: str) -> None:
    """Draw the losses by step; for pretraining also the loss of the bigram baseline."""
    axes.plot(curve["step"], curve["train_loss"], color=BLUE, label="train")
    axes.plot(curve["step"], curve["validation_loss"], color=ORANGE, label="validation")
    if bigram := metrics.get("bigram_validation_loss"):
        axes.axhline(bigram, color=GREY, linestyle="--", label="bigram model")
    axes.set_title(f"{title}: loss", fontsize=11)
    axes.set_xlabel("step")
    axes.set_ylabel(y_label, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.93")
    axes.legend(frameon=False)


def draw_accuracy(axes: Axes, metrics: dict[str, Any]) -> None:
    """Draw the test accuracy of the classifier and of its baselines."""
    bars = axes.bar(
        ["majority\nclass", "prompted\nbase", "TF-IDF", "classifier"],
        [metrics[f"{name}test_accuracy"] for name in ("majority_", "prompted_", "baseline_", "")],
        color=[GREY, GREY, GREY, BLUE],
        width=0.6,
    )
    axes.bar_label(bars, fmt="%.2f %%", padding=2)
    axes.set_title("Classifier and its baselines", fontsize=11)
    axes.set_ylabel("test accuracy (%)")
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))


def draw_means(axes: Axes, judged: dict[str, Any]) -> None:
    """Draw the mean score of each model with its 95 % interval."""
    labels, colors = zip(*ANSWERED.values(), strict=True)
    means, lows, highs = ([judged[name][key] for name in ANSWERED] for key in ("mean", "ci95_low", "ci95_high"))
    below = [mean - low for mean, low in zip(means, lows, strict=True)]
    above = [high - mean for mean, high in zip(means, highs, strict=True)]
    axes.bar(labels, means, color=colors, width=0.5)
    axes.errorbar(range(len(means)), means, yerr=[below, above], fmt="none", ecolor="black", capsize=4)
    for place, (mean, length) in enumerate(zip(means, above, strict=True)):
        axes.text(place, mean + length + 2, f"{mean:.1f}", ha="center")
    axes.set_title(f"Answers: mean score by {judged['judge']}", fontsize=11)
    axes.set_ylabel("score, with 95 % interval")
    axes.set_xlim(-0.6, len(means) - 0.4)
    axes.set_ylim(0, 100)


def draw_scores(axes: Axes, histogram: pd.DataFrame) -> None:
    """Draw the number of answers by score, in bins of ten."""
    for number, (column, (label, color)) in enumerate(ANSWERED.items()):
        axes.bar(
            histogram["score"] + 0.8 + 2.8 * number, histogram[column], 2.8, align="edge", color=color, label=label
        )
    axes.set_title("Answers by score", fontsize=11)
    axes.set_xlabel("score")
    axes.set_ylabel("answers")
    axes.set_xticks(range(0, 101, 20))
    axes.legend(frameon=False, loc="upper center")
