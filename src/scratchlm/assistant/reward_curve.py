"""The curve of a preference tuning as a picture: the loss, and beside it the rewards of both answers."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path

from scratchlm.params.choices import Keep
from scratchlm.training.best import best_of
from scratchlm.training.state import Evaluation

SIZE_IN = (10, 4.5)
SPLITS = (("train", "-"), ("validation", "-."))
ANSWERS = (("chosen", "tab:green"), ("rejected", "tab:red"))


def draw_rewards(path: Path, curve: Sequence[Evaluation], title: str, keep: Keep) -> None:
    """Draw the loss by epoch, from log 2, that of a model that is its own reference, and the mean rewards."""
    from scratchlm.stage.picture import picture  # here: matplotlib takes half a second, and no training starts with it

    best, epochs = best_of(curve), [row.epoch for row in curve]
    with picture(path, SIZE_IN, title, "constrained") as figure:
        losses, rewards = figure.subplots(1, 2)
        losses.plot(epochs, [row.train_loss for row in curve], color="tab:blue", label="train")
        losses.plot(epochs, [row.validation_loss for row in curve], "-.", color="tab:orange", label="validation")
        mark = f"lowest, step {best.step}" + (" (kept)" if keep == "best" else "")
        losses.plot(best.epoch, best.validation_loss, "o", color="tab:red", label=mark, clip_on=False)
        losses.axhline(log(2), color="0.6", linewidth=0.8, label="the reference")
        losses.set_ylim(bottom=0)
        losses.set_ylabel("loss (nats per pair)")
        for answer, color in ANSWERS:
            for split, line in SPLITS:
                values = [row.measures[f"{split}_{answer}_reward"] for row in curve]
                rewards.plot(epochs, values, line, color=color, label=f"{answer}, {split}")
        rewards.axhline(0, color="0.6", linewidth=0.8, label="the reference")
        rewards.set_ylabel("reward (beta times nats per answer)")
        for axes in (losses, rewards):
            axes.set_xlim(0, curve[-1].epoch)
            axes.set_xlabel("epoch")
            axes.grid(axis="y", color="0.93")
            axes.legend(frameon=False)
