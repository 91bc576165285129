"""The figure of benchmark_models: accuracies by subject, beside what guessing gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.files.text import shorten
from scratchlm.stage.picture import PLAIN, picture

SUBJECTS_SHOWN = 60  # MMLU has 57
LONGEST_LABEL = 40  # characters
COLORS = {"base": "0.6", "assistant": "tab:blue", "preferred": "tab:green"}
BARS = 0.8  # of the room of a subject
BAR = BARS / len(VARIANTS)


def draw_accuracies(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Draw the accuracies of all models as bars, a row per subject, with a mark at the level of chance.

    `table` as `summary.by_subject` returns it; of more than 60 rows, the first are shown, and the title says so.
    """
    shown = table[:SUBJECTS_SHOWN]
    title = "Multiple choice: base, assistant and preferred"
    if not table[0]["n"]:
        title = "No benchmark was run"
    elif len(table) > len(shown):
        title += f"\nthe first {len(shown) - 1} of {len(table) - 1} subjects"
    with picture(path, (9, 1.8 + 0.45 * len(shown)), title, "constrained") as figure:
        axes = figure.subplots()
        places = range(len(shown))
        for number, name in enumerate(VARIANTS):
            accuracies = [row[name] or 0.0 for row in shown]
            starts = [place - BARS / 2 + number * BAR for place in places]
            axes.barh(starts, accuracies, BAR, align="edge", color=COLORS[name], label=name)
        chances = [row["chance"] for row in shown if row["chance"] is not None]
        axes.vlines(
            chances,
            [place - BARS / 2 for place in range(len(chances))],
            [place + BARS / 2 for place in range(len(chances))],
            color="black",
            linestyles="--",
            label="chance",
        )
        labels = [f"{shorten(row['subject'], LONGEST_LABEL)} ({row['n']:,})" for row in shown]
        axes.set_yticks(places, labels, **PLAIN)
        axes.set_ylabel("subject (questions)")
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy (%)")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
