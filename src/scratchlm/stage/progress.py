"""Progress bars: rate and time left for those who look, nothing in a log."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm


def progress_bar(total: int | None, description: str | None, unit: str, **options: Any) -> tqdm[Any]:
    """Open a bar on standard error; without a description, off a terminal or with TQDM_DISABLE set it stays away."""
    # None: tqdm looks whether it is a terminal.
    hidden = True if description is None or os.environ.get("TQDM_DISABLE") else None
    return tqdm(total=total, desc=description, unit=unit, disable=hidden, dynamic_ncols=True, **options)
