"""Stopping between two steps: Ctrl-C, SIGTERM or the death of DVC asks, the step in hand ends first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

LOOK_EVERY_S = 1.0


class Interrupted(Exception):
    """Work was stopped on request, with all of it kept."""


class _Request:
    deferred = False
    made = False


def requested() -> bool:
    """Tell whether somebody asked to stop; for loops inside `deferred`."""
    return _Request.made


@contextmanager
def deferred() -> Iterator[None]:
    """Let the first request to stop wait for the block, which looks at `requested`; the second one does not wait."""
    _Request.deferred = True
    try:
        yield
    finally:
        _Request.deferred = False
    if _Request.made:  # since the block last looked
        raise KeyboardInterrupt


def listen() -> None:
    """Take SIGINT and SIGTERM as requests to stop, and the death of the processes above as one too.

    Outside of `deferred` a request raises KeyboardInterrupt at once.
    """
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    threading.Thread(target=_watch_parents, name="parents", daemon=True).start()


def _on_signal(number: int, frame: FrameType | None) -> None:
    first, _Request.made = not _Request.made, True
    if not (_Request.deferred and first):
        raise KeyboardInterrupt


def _watch_parents() -> None:
    """Ask to stop when DVC is gone: a SIGTERM to it alone would leave this process running."""
    if "DVC_STAGE" not in os.environ:  # which DVC gives to what it runs
        return
    above = []
    for process in psutil.Process().parents():  # a shell may stand between
        above.append(process)
        if is_dvc(process):
            break
    else:
        above = [process for process in above[:1] if process.pid != 1]  # init's child: DVC was gone already
    gone = threading.Event()
    while above and all(map(is_alive, above)):
        gone.wait(LOOK_EVERY_S)
    if not _Request.made:  # a signal to the whole group came here too: a second one would not wait for the step
        os.kill(os.getpid(), signal.SIGTERM)


def is_dvc(process: psutil.Process) -> bool:
    """Tell whether a process is DVC, or may be: not every system lets one look."""
    try:
        return any("dvc" in argument for argument in process.cmdline())
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs and has not ended unnoticed."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
