"""The figure of the accuracies: the same bytes every time, for no question and for many subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.benchmark.figure import draw_accuracies
from scratchlm.benchmark.summary import by_subject

TABLE: list[dict[str, Any]] = [
    {"subject": "all questions", "n": 1_030, "chance": 30.0, "base": 40.0, "assistant": 60.0, "preferred": 55.0},
    {"subject": "$x_{", "n": 30, "chance": 25.0, "base": 0.0, "assistant": 100.0, "preferred": 50.0},
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was drawn: the title, the bars by name, the labels."""
    seen: dict[str, Any] = {}
    suptitle, barh, set_yticks = Figure.suptitle, Axes.barh, Axes.set_yticks

    def note_title(self: Figure, title: str, **options: Any) -> Any:
        seen["title"] = title
        return suptitle(self, title, **options)

    def note_bars(self: Axes, places: Any, widths: Any, *rest: Any, **options: Any) -> Any:
        seen[options["label"]] = widths
        return barh(self, places, widths, *rest, **options)

    def note_labels(self: Axes, places: Any, labels: Any, **options: Any) -> Any:
        seen["labels"] = labels
        return set_yticks(self, places, labels, **options)

    monkeypatch.setattr(Figure, "suptitle", note_title)
    monkeypatch.setattr(Axes, "barh", note_bars)
    monkeypatch.setattr(Axes, "set_yticks", note_labels)
    return seen


def test_it_shows_all_models_beside_each_other_with_the_same_bytes(tmp_path: Path, drawn: dict[str, Any]) -> None:
    for name in ("one.png", "two.png"):
        draw_accuracies(tmp_path / name, TABLE)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert [drawn[name] for name in VARIANTS] == [[40.0, 0.0], [60.0, 100.0], [55.0, 50.0]]
    assert drawn["labels"] == ["all questions (1,030)", "$x_{ (30)"]


def test_without_questions_it_says_so(tmp_path: Path, drawn: dict[str, Any]) -> None:
    draw_accuracies(tmp_path / "none.png", by_subject([], seed=1))
    assert drawn["title"] == "No benchmark was run"


def test_of_many_subjects_the_first_are_shown_on_a_page(tmp_path: Path, drawn: dict[str, Any]) -> None:
    draw_accuracies(tmp_path / "many.png", [TABLE[0]] * 5_000)
    assert drawn["title"].endswith("\nthe first 59 of 4999 subjects")
    with Image.open(tmp_path / "many.png") as image:
        assert image.size[1] < 3_000
