"""Graceful stop: on Ctrl-C, SIGTERM or the end of DVC, finish the current step, then exit."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import psutil

from scratchlm.stage.environment import LAUNCHER, is_one_of_several

LOOK_EVERY_S = 1.0
CLEAN_UP_S = 1.0  # in which no signal interrupts what happens after a KeyboardInterrupt


class Interrupted(Exception):
    """The stage was stopped on request, and all of its work is saved."""


@dataclass
class Request:
    """Whether this process was asked to stop, and whether that waits for the end of a block."""

    made: bool = False
    deferred: bool = False
    may_hurry: bool = True  # a second Ctrl-C does not wait
    raised_s: float = -math.inf  # when it last raised KeyboardInterrupt, monotonic


request = Request()


def requested() -> bool:
    """True if a stop was requested; for loops inside `deferred`."""
    return request.made


@contextmanager
def deferred(may_hurry: bool = True) -> Iterator[None]:
    """Let a request to stop wait for the block, which checks `requested`.

    A second Ctrl-C does not wait, unless `may_hurry` is False.
    """
    request.deferred, request.may_hurry = True, may_hurry
    try:
        yield
    finally:
        request.deferred = False
    if request.made:  # after the block last checked
        raise KeyboardInterrupt


def listen() -> None:
    """Treat SIGINT, SIGTERM and the end of DVC or the shell above as requests to stop.

    The first request raises KeyboardInterrupt; inside `deferred`, at the end of the block. A second SIGTERM changes
    nothing, since schedulers send two. A second Ctrl-C does not wait for the end of `deferred`; after that, one per
    second counts, in case something swallowed the exception.
    """
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    threading.Thread(target=_watch_parents, name="parents", daemon=True).start()


def stop_listening() -> None:
    """Ignore further requests: the process is about to end with its own message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    is_first, request.made = not request.made, True
    now_s = time.monotonic()
    if request.deferred:
        raises = not is_first and number == signal.SIGINT and request.may_hurry
    else:
        raises = is_first or (number == signal.SIGINT and now_s - request.raised_s > CLEAN_UP_S)
    if raises:
        request.deferred, request.raised_s = False, now_s
        raise KeyboardInterrupt


def _watch_parents() -> None:
    """Request a stop when DVC is gone: a SIGTERM to DVC alone would leave this process running.

    One of several processes ends at once when its launcher is gone. That waits for its processes and passes requests on
    to them, so it was killed; and to wait for the others, who may be gone, could take forever.
    """
    if is_one_of_several():
        launcher = int(os.environ.get(LAUNCHER, os.getppid()))
        if os.getppid() == launcher:  # it may be gone already
            wait_until_gone(psutil.Process().parents()[:1])
        os._exit(1)
    if "DVC_STAGE" not in os.environ:  # DVC sets it for the commands it runs
        return
    above = []
    for process in psutil.Process().parents():  # there may be a shell between
        above.append(process)
        if is_dvc(process):
            break
    else:
        above = [process for process in above[:1] if process.pid != 1]  # 1 is init: DVC is already gone
    wait_until_gone(above)
    os.kill(os.getpid(), signal.SIGTERM)


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Return when one of the processes has ended; at once if there are none."""
    gone = threading.Event()
    while processes and all(map(is_alive, processes)):
        gone.wait(LOOK_EVERY_S)


def is_dvc(process: psutil.Process) -> bool:
    """True if a process is DVC, or if the system does not let us see its command line."""
    try:
        return any("dvc" in argument for argument in process.cmdline())
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def is_alive(process: psutil.Process) -> bool:
    """True if a process is running, and is not a zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
