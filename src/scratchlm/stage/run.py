"""How a stage script starts and how it ends: checked params in, one clear line out when something fails."""

from __future__ import annotations

import errno
import runpy
import sys
from pathlib import Path

from scratchlm.errors import BUILD_AGAIN, InputError, explain
from scratchlm.stage.interruption import Interrupted, deferred, listen, stop_listening

WRITTEN_BY_STAGES = ("data/", "models/")
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def run(script: Path) -> None:
    """Call the `main(params)` of a stage script with the current folder's params.

    A mistake of the user's, a machine's failure and a request to stop end with exit code 1 and one message, which
    begins with the script's name.
    """
    name = script.stem
    listen()
    try:
        call_main(script)
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
    finally:
        stop_listening()


def call_main(script: Path) -> None:
    """Check the params, load the script, and call its `main`."""
    with deferred():  # loading torch takes seconds, and cut short it ends in errors of all kinds
        from scratchlm.params.file import PARAMS, load_params

        params = load_params(PARAMS)
        main = runpy.run_path(str(script))["main"]
    main(params)
