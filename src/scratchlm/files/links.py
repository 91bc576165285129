"""One file under a second name, without a copy where the file system can do that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which must be new; copy it where both cannot be names of one file."""
    try:
        os.link(source, target)
    except OSError:  # on another disk, of another owner, or a file system without links
        shutil.copyfile(source, target)
