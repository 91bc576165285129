"""Running a stage script: it gets checked params, and a failure ends in one clear message."""

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
    """Call the `main(params)` of a stage script with the params of the current folder.

    A user's mistake, a failure of the machine and a request to stop end in exit code 1 and one message that begins
    with the script's name.
    """
    name = script.stem
    try:
        listen()
        call_main(script)
    except InputError as error:
        sys.exit(f"{name}: error: {explain(error)}")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if missing and str(error.filename).startswith(WRITTEN_BY_STAGES):
            sys.exit(f"{name}: error: {error.filename}: {error.strerror}; {BUILD_AGAIN}")
        if error.errno not in MACHINE_ERRORS:
            raise
        place = error.filename2 or error.filename or Path.cwd()  # the error of a write names no file
        sys.exit(f"{name}: error: {place}: {error.strerror}: make room or give access, then run again")
    except Interrupted as stopped:
        sys.exit(f"{name}: interrupted {stopped}; run `make repro` to go on from there")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; run `make repro` to go on")
    finally:
        stop_listening()


def call_main(script: Path) -> None:
    """Check the params, load the script, and call its `main`."""
    # Importing torch takes seconds, and an interrupted import raises all kinds of errors.
    with deferred(may_hurry=False):
        from scratchlm.params.file import PARAMS, load_params

        params = load_params(PARAMS)
        main = runpy.run_path(str(script))["main"]
    main(params)
