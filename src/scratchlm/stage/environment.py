"""Settings of this machine and run, which are environment variables and never params."""

from __future__ import annotations

import math
import os
import re
from urllib.parse import SplitResult, urlsplit

from scratchlm.errors import InputError


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
