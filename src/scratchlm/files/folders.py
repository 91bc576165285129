"""The folders that do not depend on the working directory: the project's root and the user's cache."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from scratchlm.errors import InputError
from scratchlm.files.text import shorten

SHOWN_CHARACTERS = 60


def from_root(folder: str) -> Path:
    """Resolve a path against the repository's root, which DVC_ROOT names: a queued experiment runs in a copy elsewhere.

    Raises InputError for what cannot be a path.
    """
    try:
        path = Path(os.environ.get("DVC_ROOT", ""), Path(folder).expanduser()).absolute()
        path.lstat()
    except RuntimeError:
        raise InputError(f"{folder}: there is no home folder of such a user; give an absolute path") from None
    except ValueError as error:  # zero bytes, and characters that no file system can hold
        raise InputError(f"{folder!r} cannot be a path ({error}): give another") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{shorten(folder, SHOWN_CHARACTERS)} cannot be a path (too long): shorten it") from None
    return path


def cache_folder() -> Path:
    """Return the user's cache: downloads, each verified one named by its sha256, and the judges' answers.

    It is SCRATCHLM_CACHE, by default scratchlm in XDG_CACHE_HOME or ~/.cache.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return from_root(os.environ.get("SCRATCHLM_CACHE") or f"{base}/scratchlm")
