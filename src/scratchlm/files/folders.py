"""The folders that do not move with the working directory: the project's root and the user's cache."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from scratchlm.errors import InputError
from scratchlm.files.text import shorten

SHOWN_CHARACTERS = 60


def from_root(folder: str) -> Path:
    """Resolve a folder against the repository's root, where DVC starts stages (queued ones only name it).

    Raises InputError for what cannot be a path.
    """
    try:
        path = Path(os.environ.get("DVC_ROOT", ""), Path(folder).expanduser()).absolute()
        path.lstat()
    except RuntimeError:
        raise InputError(f"{folder}: there is no such user's home folder; give the path from / on") from None
    except ValueError as error:  # zero bytes, and characters that no file system can hold
        raise InputError(f"{folder!r} cannot be a path ({error}): give another") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{shorten(folder, SHOWN_CHARACTERS)} cannot be a path (too long): give another") from None
    return path


def cache_folder() -> Path:
    """Return the user's cache: downloads, each verified one named by its sha256, and the judges' answers.

    It is SCRATCHLM_CACHE, by default scratchlm in XDG_CACHE_HOME or ~/.cache.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return from_root(os.environ.get("SCRATCHLM_CACHE") or f"{base}/scratchlm")
