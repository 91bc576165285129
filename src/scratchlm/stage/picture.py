"""Pictures for `dvc plots`, as PNG files with the same bytes for the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import matplotlib.style
from matplotlib.figure import Figure

from scratchlm.files.atomic import atomic_path

DPI = 100
STYLE = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that figures do not depend on the machine's fonts
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PLAIN = {"parse_math": False}  # a dollar in a user's or a model's text is not mathematics


@contextmanager
def picture(
    path: Path, size_in: tuple[float, float], title: str, layout: Literal["constrained"] | None = None
) -> Iterator[Figure]:
    """Give an empty figure with a title, and write it as PNG when the block has drawn into it."""
    # Without pyplot: no window, no backend, nothing left open. The user's settings are left out too.
    with matplotlib.style.context(["default", STYLE], after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn instead
        figure = Figure(size_in, DPI, layout=layout)
        figure.suptitle(title, fontsize=11, **PLAIN)
        yield figure
        with atomic_path(path) as temporary:
            # Without the version of matplotlib, which would change the bytes.
            figure.savefig(temporary, format="png", metadata={"Software": None})
