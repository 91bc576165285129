"""Figures: the documented size, the same bytes every time, any text as a label."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from scratchlm.anatomy.figures import (
    LINES,
    draw_activations,
    draw_attention,
    draw_gradients,
    draw_positions,
    draw_temperatures,
)
from scratchlm.model.gpt import activate
from scratchlm.stage.picture import DPI

GRADIENTS = {name: [1e-3 / (index + 1), 1e-4, 0.0] for index, name in enumerate(LINES)}
ODD = ["$x$", "$_{$", "$", "\\alpha", "^_{", "很", "🙂", "", "�"]


def maps(n_layers: int, n_heads: int, n_tokens: int) -> torch.Tensor:
    scores = torch.rand(n_layers, n_heads, n_tokens, n_tokens, generator=torch.Generator().manual_seed(0)).tril()
    return scores / scores.sum(dim=-1, keepdim=True)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []
    draw = Figure.suptitle

    def suptitle(self: Figure, title: str, **options: object) -> object:
        seen.append(title)
        return draw(self, title, **options)

    monkeypatch.setattr(Figure, "suptitle", suptitle)
    yield seen


def draw_all(folder: Path) -> None:
    draw_attention(folder / "attention.png", maps(2, 3, 4), ["a", "␣b", "c", "d"], "a b c d")
    draw_temperatures(folder / "temperatures.png", [[0.9, 0.1], [0.6, 0.4]], [0.1, 5.0], ["a", "1 others"], "a b")
    draw_gradients(folder / "gradients.png", GRADIENTS, 10)
    draw_positions(folder / "positions.png", torch.eye(3)[[0, 1, 0, 2]], "3 numbers")
    draw_activations(folder / "activations.png")


def test_figures_have_their_size_and_the_same_bytes_whatever_the_users_settings(tmp_path: Path) -> None:
    draw_all(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 40, "axes.facecolor": "red", "axes.grid": True}):
        draw_all(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    for name, content in first.items():
        assert b"Software" not in content and b"tIME" not in content, name
    sizes = {name: Image.open(tmp_path / name).size for name in first}
    assert sizes == {
        "attention.png": (520, 378),
        "temperatures.png": (900, 450),
        "gradients.png": (900, 450),
        "positions.png": (1200, 430),
        "activations.png": (800, 340),
    }


def test_figures_do_not_depend_on_the_process_or_its_backend(tmp_path: Path) -> None:
    draw_gradients(tmp_path / "here.png", GRADIENTS, 10)
    program = (
        "from pathlib import Path; from scratchlm.anatomy.figures import draw_gradients; "
        f"draw_gradients(Path('there.png'), {GRADIENTS!r}, 10)"
    )
    source = str(Path(__file__).parents[3] / "src")
    environment = {"PYTHONPATH": source, "MPLBACKEND": "qtagg", "MPLCONFIGDIR": str(tmp_path / "config")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1, 3), "Attention in the one layer and the one head\n“a b”"),
        ((4, 4, 8), "Attention in all 4 layers and all 4 heads\n“a b”"),
        ((12, 12, 4), "Attention in layers 1, 7 and 12 of 12 and all 12 heads\n“a b”"),
        (
            (48, 25, 40),
            "Attention in layers 1, 25 and 48 of 48 and heads 1 to 12 of 25, first 16 of 40 tokens\n“a b”",
        ),
    ],
)
def test_attention_of_any_model_is_a_page_whose_title_says_what_it_shows(
    shape: tuple[int, int, int], expected: str, titles: list[str], tmp_path: Path
) -> None:
    draw_attention(tmp_path / "attention.png", maps(*shape), ["token"] * shape[2], "a b")
    assert titles == [expected]
    with Image.open(tmp_path / "attention.png") as image:
        assert 500 <= image.width < 3000 and 300 <= image.height < 1000


def test_high_weights_are_dark_and_what_is_hidden_is_grey(tmp_path: Path) -> None:
    draw_attention(
        tmp_path / "attention.png", torch.eye(2)[None, None], ["a", "b"], "a b"
    )  # every token attends to itself
    with Image.open(tmp_path / "attention.png") as image:
        pixels = numpy.asarray(image.convert("RGB"))
    dark = (pixels == [8, 48, 107]).all(axis=-1)  # the end of matplotlib's Blues
    grey = (pixels == 240).all(axis=-1)
    cell = (3.5 * DPI / 2) ** 2
    assert grey.sum() == pytest.approx(cell, rel=0.02)
    assert dark.sum() == pytest.approx(2 * cell, rel=0.02)
    dark_center, grey_center = (numpy.argwhere(part).mean(axis=0) for part in (dark, grey))
    assert grey_center[0] < dark_center[0] and grey_center[1] > dark_center[1]  # in the upper right


def test_activations_are_drawn_as_in_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = []
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y: curves.append((axes, torch.tensor(x), torch.tensor(y))))
    draw_activations(tmp_path / "activations.png")
    (left, x, gelu), (right, _, relu) = curves
    assert (left.get_ylabel(), right.get_ylabel()) == ("GELU(x)", "ReLU(x)")
    assert torch.equal(x, torch.linspace(-3, 3, 100))
    assert torch.allclose(gelu, activate(x, "gelu_tanh"), atol=1e-6)
    assert torch.equal(relu, activate(x, "relu"))


def test_gradients_of_a_model_that_always_has_shortcuts_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = []
    monkeypatch.setattr(Axes, "plot", lambda *curve, label, **style: labels.append(label))
    monkeypatch.setattr(Axes, "legend", lambda *_, **style: None)
    shown = {name: values for name, values in GRADIENTS.items() if "without" not in name}
    draw_gradients(tmp_path / "gradients.png", shown, 10)
    assert labels == ["new, with shortcuts", "after 10 steps, with shortcuts", "the trained model"]


def test_positions_are_compared_by_the_cosine_of_their_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, titles: list[str]
) -> None:
    means, bands = [], []
    monkeypatch.setattr(Axes, "plot", lambda axes, values, **style: means.extend(values))
    monkeypatch.setattr(Axes, "legend", lambda *_, **style: None)
    monkeypatch.setattr(
        Axes, "fill_between", lambda axes, x, low, high, **style: bands.extend(zip(low, high, strict=True))
    )
    vectors_TN = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [-5.0, 0.0]])
    draw_positions(tmp_path / "positions.png", vectors_TN, "2 numbers")
    assert means == pytest.approx([1, 1 / 3, -1 / 2, -1])
    assert bands == [(1, 1), (0, 1), (-1, 0), (-1, -1)]
    assert titles == ["How the model tells positions apart: 2 numbers"]


def test_any_text_can_be_a_label(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_attention(tmp_path / "attention.png", maps(1, 1, len(ODD)), ODD, " ".join(ODD))
        draw_temperatures(tmp_path / "temperatures.png", [[0.1] * len(ODD)], [1.0], ODD, " ".join(ODD))
    assert capfd.readouterr() == ("", "")


def test_a_long_text_is_quoted_in_part(titles: list[str], tmp_path: Path) -> None:
    draw_temperatures(tmp_path / "temperatures.png", [[1.0]], [1.0], ["a"], "a line\nand " * 20)
    quote = titles[0].splitlines()[1]
    assert len(titles[0].splitlines()) == 2 and len(quote) <= 62
    assert quote.startswith("“a line and a line") and quote.endswith("…”")
