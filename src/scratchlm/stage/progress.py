"""Progress bars with rate and remaining time, shown on a terminal only."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm


def progress_bar(total: int | None, description: str | None, unit: str, **options: Any) -> tqdm[Any]:
    """Open a bar on stderr; hidden without a description, without a terminal, or if TQDM_DISABLE is set."""
    # None: tqdm hides the bar unless stderr is a terminal.
    hidden = True if description is None or os.environ.get("TQDM_DISABLE") else None
    return tqdm(total=total, desc=description, unit=unit, disable=hidden, dynamic_ncols=True, **options)
