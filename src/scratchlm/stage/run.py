"""How a stage script starts and how it ends: checked params in, one clear line out when something fails."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from scratchlm.errors import BUILD_AGAIN, InputError, explain
from scratchlm.params.file import PARAMS, load_params
from scratchlm.params.schema import Params
from scratchlm.stage.interruption import Interrupted, listen

WRITTEN_BY_STAGES = ("data/", "models/")
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def run(main: Callable[[Params], None]) -> None:
    """Call a stage's `main` with the current folder's params; exit with 1 and one message on InputError.

    The message begins with the script's name.
    """
    name = Path(sys.argv[0]).stem
    listen()
    try:
        main(load_params(PARAMS))
    except InputError as error:
        sys.exit(f"{name}: error: {explain(error)}")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if missing and str(error.filename).startswith(WRITTEN_BY_STAGES):
            sys.exit(f"{name}: error: {error.filename}: {error.strerror}; {BUILD_AGAIN}")
        if error.errno not in MACHINE_ERRORS:
            raise
        place = error.filename2 or error.filename or Path.cwd()  # a write to an open file does not say which
        sys.exit(f"{name}: error: {place}: {error.strerror}: make room or give access, then run again")
    except Interrupted as stopped:
        sys.exit(f"{name}: interrupted {stopped}; run `make repro` to go on from there")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; run `make repro` to go on")
