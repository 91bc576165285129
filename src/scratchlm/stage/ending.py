"""How a process of a stage ends: with exit code 1 and one message, which several processes leave to their launcher."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, NoReturn

from scratchlm.files.atomic import write_text

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # torchrun sets it for each process, and shows what is there if it is the last


class Cause(IntEnum):
    """Why a process ended. When several end, the one with the lowest number is why the others did."""

    ERROR = 0
    KILLED = 1
    STOPPED = 2  # on request, also of torchrun because another process has failed
    DESERTED = 3  # another process was gone


class Ending(NamedTuple):
    """Why, when and with which words a process ended; endings are ordered by that."""

    cause: Cause
    time_s: float  # since 1970
    message: str


def end(cause: Cause, message: str) -> NoReturn:
    """End this process with exit code 1; the message goes to stderr, or to torchrun, which started the process."""
    if ERROR_FILE not in os.environ:
        sys.exit(message)
    now_s = time.time()
    noted = {
        "message": message,
        "timestamp": int(now_s),
        "cause": cause,
        "time_s": now_s,
    }  # torchrun reads the first two
    write_text(Path(os.environ[ERROR_FILE]), json.dumps(noted))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # At once: at a normal exit torch may wait for the others, who may be gone, or warn that they have not parted.
    os._exit(1)


def read_ending(path: Path) -> Ending:
    """Read what `end` has written."""
    noted = json.loads(path.read_text(encoding="utf-8"))
    return Ending(Cause(noted["cause"]), noted["time_s"], noted["message"])
