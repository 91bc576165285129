"""The files of a Git revision, a DVC experiment or the workspace, read without checking anything out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scratchlm.errors import InputError
from scratchlm.files.text import one_line

WORKSPACE = "workspace"
ERROR_CHARS = 200


@contextmanager
def open_project(folder: Path) -> Iterator[Any]:
    """Open the DVC project (a `dvc.repo.Repo`) that a folder is part of.

    Raises InputError for a folder that is in no project, and for whatever DVC cannot do while it is open.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            yield repo
    except NotDvcRepoError:
        raise InputError(f"{folder.resolve()} is in no DVC project: run this in the project's folder") from None
    except DvcException as error:
        raise InputError(f"DVC stopped: {one_line(error, ERROR_CHARS)}") from None


@contextmanager
def files_of(repo: Any, revision: str) -> Iterator[Any]:
    """Give the files of a revision as a `dvc.fs.DVCFileSystem`, whose paths begin with "/".

    They come from Git, and from DVC's cache or its remote. Raises InputError for an unknown revision.
    """
    from dvc.fs import DVCFileSystem
    from dvc.repo.brancher import switch
    from dvc.scm import SCMError

    try:
        with switch(repo, revision):
            # A file system of its own, because the repository's still shows the revision before.
            yield DVCFileSystem(repo=repo)
    except SCMError as error:
        raise InputError(
            f"{revision} is unknown ({one_line(error, ERROR_CHARS)}): name a Git revision, an experiment of "
            f"`dvc exp show`, or `{WORKSPACE}`"
        ) from None
