"""benchmarks/book_figures.py: its comparisons, its failures, and the figures that need large downloads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import book_figures
import pytest
from book_figures import JUDGE, WEIGHTS, Figure, agrees, compare, figures
from book_profile import BookProfile

# What the tests may use on this machine: nothing, `weights`, or `judge` (Ollama and the weights).
AVAILABLE = {"weights": {WEIGHTS}, "judge": {WEIGHTS, JUDGE}}.get(os.environ.get("SCRATCHLM_FIGURES", ""), set())


@pytest.fixture(scope="module")
def book(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> BookProfile:
    return BookProfile(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def full_book(tmp_path_factory: pytest.TempPathFactory) -> BookProfile:
    """One profile for all figures that need the weights, downloaded from where they are published."""
    return BookProfile(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(
    "figure",
    [figure for figure in figures() if not figure.needs and figure.chapter != "ch05"],
    ids=lambda figure: f"{figure.chapter} {figure.name}",
)
def test_a_figure_equals_the_books(figure: Figure, book: BookProfile) -> None:
    row = compare(figure, book, set())
    assert row["result"] == ("exact" if not figure.tolerance else "within 1e-06"), row


@pytest.mark.slow
def test_chapter_5_starts_with_the_books_losses(book: BookProfile) -> None:
    (figure,) = (figure for figure in figures() if figure.name == "initial losses")
    assert agrees(figure, figure.compute(book))


@pytest.mark.weights
@pytest.mark.parametrize(
    "figure",
    [figure for figure in figures() if figure.needs],
    ids=lambda figure: f"{figure.chapter} {figure.name}",
)
def test_a_figure_that_needs_gpt2s_weights_equals_the_books(figure: Figure, full_book: BookProfile) -> None:
    if figure.needs not in AVAILABLE:
        pytest.skip(f"needs {figure.needs}: set SCRATCHLM_FIGURES=weights (or judge, with Ollama) and run -m weights")
    row = compare(figure, full_book, AVAILABLE)
    assert row["result"] != "DIFFERENT", row


EXACT = Figure("ch02", "test", [[1, 2.5], [3]], lambda book: [[1, 2.5], [3]])


@pytest.mark.parametrize(
    ("figure", "result"),
    [
        (EXACT, "exact"),
        (replace(EXACT, book=[[1, 2.5], [4]]), "DIFFERENT"),
        (replace(EXACT, book=[[1, 2.49], [3]], tolerance=0.02), "within 0.02"),
        (replace(EXACT, book=[[1, 2.4], [3]], tolerance=0.02), "DIFFERENT"),
        (replace(EXACT, book=[[1, 2.5]], tolerance=0.02), "DIFFERENT"),
        (replace(EXACT, needs=WEIGHTS), "needs GPT-2's weights"),
    ],
)
def test_a_figure_is_compared_to_its_tolerance(figure: Figure, result: str, tmp_path: Path) -> None:
    assert compare(figure, BookProfile(tmp_path), set())["result"] == result


@pytest.fixture
def one_wrong_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def chapter() -> Iterator[Figure]:
        yield EXACT
        yield replace(EXACT, name="wrong", book=0)

    monkeypatch.setattr(book_figures, "CHAPTERS", {"ch02": chapter})


def test_a_wrong_figure_ends_in_exit_code_1(
    one_wrong_figure: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["book_figures.py"])
    with pytest.raises(SystemExit) as stopped:
        book_figures.main()
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "DIFFERENT" in printed.out and "1 exact, 0 within tolerance, 0 not computed, 1 different" in printed.err
    assert max(map(len, printed.out.splitlines())) <= 80


def test_json_is_for_machines(
    one_wrong_figure: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["book_figures.py", "--json"])
    with pytest.raises(SystemExit):
        book_figures.main()
    rows = json.loads(capsys.readouterr().out)
    assert [row["result"] for row in rows] == ["exact", "DIFFERENT"]
    assert rows[0]["ours"] == [[1, 2.5], [3]]
