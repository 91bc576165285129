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


def listen() -> None:
    """Take SIGINT and SIGTERM as requests to stop, and the death of the processes above as one too.

    Outside of `deferred` a request raises KeyboardInterrupt at once.
    """
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    threading.Thread(target=_watch_parents, name="parents", daemon=True).start()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _Request.deferred and not _Request.made:
        _Request.made = True
        return
    raise KeyboardInterrupt


def _watch_parents() -> None:
    """Ask to stop when DVC is gone: a SIGTERM to it alone would leave this process running."""
    if "DVC_ROOT" not in os.environ:
        return
    above = []
    for process in psutil.Process().parents():  # a shell may stand between
        above.append(process)
        if any("dvc" in argument for argument in process.cmdline()):
            break
    else:
        above = above[:1]
    gone = threading.Event()
    while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in above):
        gone.wait(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
