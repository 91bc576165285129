"""The curve of a training: its rows, its picture, and that drawing costs a stage's start nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from scratchlm.training.curve import draw_curve, language_rows, round_perplexities
from scratchlm.training.state import Evaluation

SOURCE = Path(__file__).parents[3] / "src"
CURVE = [
    Evaluation(step, (step + 1) / 10, 4 * (step + 1), 1000 * (step + 1), 0.01, loss, loss + gap)
    for step, loss, gap in ((0, 7.0, 0.1), (10, 3.0, 0.2), (19, 1.0, 4.0))
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    drawn: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *arguments: object, **options: object) -> None:
        drawn.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    yield drawn


def test_the_rows_of_a_language_model_have_its_perplexities() -> None:
    rows = language_rows(CURVE)
    assert [row["step"] for row in rows] == [0, 10, 19]
    assert rows[2]["epoch"] == 2.0
    assert rows[1]["train_perplexity"] == math.exp(3.0)
    assert rows[1]["validation_perplexity"] == math.exp(CURVE[1].validation_loss)


def test_a_picture_has_its_size_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_curve(tmp_path / name, CURVE, "A loss", "token", "best")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert Image.open(tmp_path / "one.png").size == (800, 450)


def test_tokens_are_on_the_axis_above_and_perplexities_on_the_right(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curve(tmp_path / "curve.png", CURVE, "A loss", "token", "last")
    axes, above, right = figures[0].axes
    assert (axes.get_xlabel(), axes.get_xlim()) == ("epoch", (0, 2.0))
    assert (above.get_xlabel(), above.get_xlim()) == ("tokens seen", (0, 20_000))
    assert axes.get_ylabel() == "cross entropy (nats per token)"
    assert right.get_ylabel() == "perplexity" and right.get_ylim() == axes.get_ylim()
    for place, label in zip(right.get_yticks(), right.get_yticklabels(), strict=True):
        assert math.exp(place) == pytest.approx(float(label.get_text().replace(",", "")))


def test_messages_are_counted_as_examples_and_have_no_perplexity(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curve(tmp_path / "curve.png", CURVE, "A loss", "message", "last")
    _, above = figures[0].axes
    assert (above.get_xlabel(), above.get_xlim()) == ("messages seen", (0, 80))


@pytest.mark.parametrize(("keep", "label"), [("last", "lowest, step 10"), ("best", "lowest, step 10 (kept)")])
def test_the_best_evaluation_is_marked(keep: str, label: str, tmp_path: Path, figures: list[Figure]) -> None:
    draw_curve(tmp_path / "curve.png", CURVE, "A loss", "token", keep)  # type: ignore[arg-type]
    train, validation, mark = figures[0].axes[0].get_lines()
    assert (train.get_label(), validation.get_label(), mark.get_label()) == ("train", "validation", label)
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (CURVE[1].epoch, CURVE[1].validation_loss)


@pytest.mark.parametrize(
    ("largest_loss", "expected"),
    [
        (0.5, [1]),
        (2.0, [1, 2, 5]),
        (4.0, [1, 2, 5, 10, 20, 50]),
        (8.5, [1, 10, 100, 1000]),
        (700.0, [10**power for power in range(0, 305, 31)]),
    ],
)
def test_an_axis_of_any_loss_has_a_few_round_perplexities(largest_loss: float, expected: list[int]) -> None:
    assert round_perplexities(largest_loss) == expected


def test_a_curve_of_one_evaluation_or_of_huge_losses_can_be_drawn(tmp_path: Path) -> None:
    draw_curve(tmp_path / "one.png", CURVE[:1], "A loss", "token", "last")
    draw_curve(tmp_path / "huge.png", [Evaluation(0, 1.0, 1, 1, 1.0, 5e4, 5e4)], "A loss", "token", "last")
    assert (tmp_path / "one.png").exists() and (tmp_path / "huge.png").exists()


def test_a_stage_starts_without_the_program_that_draws() -> None:
    program = "import sys, scratchlm.training.fit, scratchlm.training.curve; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
