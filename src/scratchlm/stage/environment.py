"""Settings of this machine and run, which are environment variables and never params."""

from __future__ import annotations

import math
import os
import re
from urllib.parse import SplitResult, urlsplit

from scratchlm.errors import InputError

# Rounds of its waiting loop after which a thread of GNU's OpenMP, which torch uses on Linux, sleeps: microseconds. By
# default it spins for milliseconds and takes the core from other processes, and they from it: beside one busy process
# per core, a training step took 3 to 20 times its idle time. With 300 to 1,000 rounds it took twice, and idle the same.
SPIN_COUNT = 1000

LAUNCH = "SCRATCHLM_LAUNCH"  # the command that starts the processes of a stage, such as torchrun --nproc-per-node 2
LAUNCHER = "SCRATCHLM_LAUNCHER"  # the launcher's process id, which it tells its processes
THREADS = "SCRATCHLM_THREADS"  # what one process would have; the launcher tells its processes


def is_one_of_several() -> bool:
    """True if torchrun has started this process. RANK and LOCAL_RANK do not say so: schedulers set them too."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def share_cores() -> None:
    """Let waiting threads of OpenMP sleep soon, unless the user has set how they wait; call it before torch loads."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


def read_seconds(name: str, default_s: float) -> float:
    """Read a time above 0 from the environment variable `name`; raise InputError for anything else."""
    text = os.environ.get(name, str(default_s))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"{name} is {text!r}, wanted a number of seconds above 0, such as {default_s:g}")
    return seconds


def read_count(name: str, default: int, most: int) -> int:
    """Read a whole number from 1 to `most` from the environment variable `name`; raise InputError for anything else."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise InputError(f"{name} is {text!r}, wanted a whole number from 1 to {most}")
    return int(text)


def read_address(name: str, text: str, example: str) -> SplitResult:
    """Split a server's address from the environment variable `name`; raise InputError, which shows no password."""
    try:
        address = urlsplit(text)
        if address.scheme in ("http", "https") and address.hostname and address.port != 0:
            return address
    except ValueError:
        pass
    shown = re.split("[?#]", text.rpartition("@")[2])[0]
    raise InputError(f"{name} is {shown!r}, no address: set it as in {example}")


def read_key(name: str) -> str:
    """Read a key from the environment variable `name`, "" if there is none; raise InputError if it cannot be sent."""
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"{name} holds characters that a key cannot have: copy it again, in one line")
    return key
