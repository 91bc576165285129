"""Drawings as SVG inside the page: the same bytes for the same numbers, in the page's colours and fonts."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchlm.stage.picture import STYLE

# Colours that nobody draws with: each becomes a variable of style.css, which has one value in light and one in dark.
INK, FAINT, TRAIN, VALIDATION = "#010101", "#010102", "#010103", "#010104"
MODELS = {"base": "#010105", "assistant": "#010106", "preferred": "#010107"}
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115", "#010116")
VARIABLES = {
    INK: "ink",
    FAINT: "faint",
    TRAIN: "train",
    VALIDATION: "validation",
    **{color: name for name, color in MODELS.items()},
    **{color: f"series-{number}" for number, color in enumerate(SERIES, 1)},
}
OWN_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 10.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.4,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a user's or a model's text is not mathematics
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
}
WIDTH_IN = 5.2  # with letters of 10.5 pt, which a phone shows as 10 px
TAG = re.compile("<[^>]*>")
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
COLOR = re.compile("#0101[01][0-9a-f]")
LEFT_OUT = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
SIZE = re.compile(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>')


def draw(name: str, size_in: tuple[float, float], paint: Callable[[Axes], None]) -> Markup:
    """Return the SVG element that `paint` draws; `name` makes the ids in it unique on the page."""
    style: list[str | dict[str, Any]] = ["default", {**STYLE, **OWN_STYLE, "svg.hashsalt": name}]
    with matplotlib.style.context(style, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has more fonts
        figure = Figure(size_in, layout="constrained")
        paint(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = LEFT_OUT.sub("", buffer.getvalue()).strip()
    # In tags alone: what a text says stays as it is.
    svg = TAG.sub(lambda tag: COLOR.sub(_variable, REFERENCE.sub(rf"\g<1>{name}-", tag[0])), svg)
    return Markup(SIZE.sub(r'<svg viewBox="\1" aria-hidden="true">', svg, count=1))


def _variable(color: re.Match[str]) -> str:
    return f"var(--{VARIABLES[color[0]]})"
