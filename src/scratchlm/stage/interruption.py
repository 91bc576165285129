"""Graceful stop: on Ctrl-C, SIGTERM or the death of DVC, finish the current step, then exit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import psutil

LOOK_EVERY_S = 1.0


class Interrupted(Exception):
    """Work was stopped on request, with all of it kept."""


@dataclass
class Request:
    """The request to stop that this process may have received, and whether it waits for the end of a step."""

    made: bool = False
    deferred: bool = False


request = Request()


def requested() -> bool:
    """Tell whether somebody asked to stop; for loops inside `deferred`."""
    return request.made


@contextmanager
def deferred() -> Iterator[None]:
    """Let a request to stop wait for the block, which looks at `requested`; a second Ctrl-C does not wait."""
    request.deferred = True
    try:
        yield
    finally:
        request.deferred = False
    if request.made:  # since the block last looked
        raise KeyboardInterrupt


def listen() -> None:
    """Take SIGINT and SIGTERM as requests to stop, and the death of the processes above as one too.

    The first request raises KeyboardInterrupt, inside `deferred` at the end of the block. Later ones change nothing,
    since schedulers send SIGTERM twice; but a second Ctrl-C does not wait for the end of `deferred`.
    """
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    threading.Thread(target=_watch_parents, name="parents", daemon=True).start()


def stop_listening() -> None:
    """Ignore further requests: the process is about to end, and says itself how."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    is_first, request.made = not request.made, True
    is_second_ctrl_c = not is_first and request.deferred and number == signal.SIGINT
    if is_second_ctrl_c or (is_first and not request.deferred):
        request.deferred = False  # what the exception does on its way must not be cut short by a third one
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
