"""The curve of a training: as a table while it runs, and as a picture with two horizontal axes, as in the book.

DVC draws the table too, but its templates have no second axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, Literal

from scratchlm.params.choices import Keep
from scratchlm.training.best import best_of
from scratchlm.training.loss import LARGEST_EXPONENT, perplexity
from scratchlm.training.state import Evaluation

SIZE_IN = (8, 4.5)
POWERS_ONLY = 8  # nats; a perplexity axis longer than that has no room for 2, 20, 200 and 5, 50, 500
DECADES_SHOWN = 10  # perplexities on an axis longer still


def language_rows(curve: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return one row per evaluation of a language model, for `write_table`, with perplexities (chapter 5.1.2)."""
    return [
        row.columns()
        | {"train_perplexity": perplexity(row.train_loss), "validation_perplexity": perplexity(row.validation_loss)}
        for row in curve
    ]


def draw_curve(
    path: Path, curve: Sequence[Evaluation], title: str, unit: Literal["token", "message"], keep: Keep
) -> None:
    """Draw the losses per `unit` by epoch, mark the best evaluation, and say if its weights were kept.

    The second axis, above, has the tokens seen, for messages the messages. Losses per token have their perplexities
    on the right.
    """
    from scratchlm.stage.picture import picture  # here: matplotlib takes half a second, and no training starts with it

    best, last = best_of(curve), curve[-1]
    epochs = [row.epoch for row in curve]
    with picture(path, SIZE_IN, title, "constrained") as figure:
        axes = figure.subplots()
        axes.plot(epochs, [row.train_loss for row in curve], color="tab:blue", label="train")
        axes.plot(epochs, [row.validation_loss for row in curve], "-.", color="tab:orange", label="validation")
        mark = f"lowest, step {best.step}" + (" (kept)" if keep == "best" else "")
        axes.plot(best.epoch, best.validation_loss, "o", color="tab:red", label=mark, clip_on=False)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"cross entropy (nats per {unit})")
        axes.set_xlim(0, last.epoch)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.93")
        axes.legend(frameon=False)
        above = axes.twiny()
        above.set_xlim(0, last.tokens_seen if unit == "token" else last.examples_seen)
        above.set_xlabel(f"{unit}s seen")
        above.xaxis.set_major_formatter("{x:,.0f}")
        above.spines.top.set_visible(True)
        if unit == "token":
            perplexities = round_perplexities(axes.get_ylim()[1])
            right = axes.twinx()
            right.set_ylim(axes.get_ylim())
            right.set_yticks(
                [log(mark) for mark in perplexities],
                [f"{mark:,}" if mark < 1_000_000 else f"{mark:.0e}" for mark in perplexities],
            )
            right.set_ylabel("perplexity")
            right.spines.right.set_visible(True)


def round_perplexities(largest_loss: float) -> list[int]:
    """Return round perplexities of losses from 0 to `largest_loss` nats: 1, 2, 5, 10, or powers of ten, a dozen."""
    largest_loss = min(largest_loss, LARGEST_EXPONENT)
    decades = int(largest_loss / log(10))
    digits = (1, 2, 5) if largest_loss < POWERS_ONLY else (1,)
    marks = [digit * 10**power for power in range(0, decades + 1, 1 + decades // DECADES_SHOWN) for digit in digits]
    return [mark for mark in marks if log(mark) <= largest_loss]
