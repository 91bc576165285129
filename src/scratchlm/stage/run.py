"""Running a stage script: it gets checked params, and a failure ends in one clear message."""

from __future__ import annotations

import errno
import os
import runpy
import traceback
from pathlib import Path

from scratchlm.errors import BUILD_AGAIN, InputError, explain
from scratchlm.files.text import one_line
from scratchlm.stage.ending import Cause, end
from scratchlm.stage.environment import LAUNCH, is_one_of_several
from scratchlm.stage.interruption import Interrupted, deferred, listen, stop_listening

# Stages that several processes can share; what torchrun is asked for does not concern the others.
SHARED = ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences", "generate_responses")
WRITTEN_BY_STAGES = ("data/", "models/")
ERROR_CHARS = 200
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def run(script: Path) -> None:
    """Call the `main(params)` of a stage script with the params of the current folder, in as many processes as asked.

    A user's mistake, a failure of the machine and a request to stop end in exit code 1 and one message that begins
    with the script's name.
    """
    try:
        listen()
        run_or_explain(script)
    except KeyboardInterrupt:  # also where a failure is being explained, as torchrun stops all when one process fails
        end(Cause.STOPPED, f"{script.stem}: interrupted; run `make repro` to go on")
    finally:
        stop_listening()


def run_or_explain(script: Path) -> None:
    """Run a stage, and end with one message if that fails for a known reason."""
    name = script.stem
    try:
        if name in SHARED and os.environ.get(LAUNCH, "").strip() and not is_one_of_several():
            start_several(script)
        else:
            call_main(script)
    except InputError as error:
        end(Cause.ERROR, f"{name}: error: {explain(error)}")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if missing and str(error.filename).startswith(WRITTEN_BY_STAGES):
            end(Cause.ERROR, f"{name}: error: {error.filename}: {error.strerror}; {BUILD_AGAIN}")
        if error.errno not in MACHINE_ERRORS:
            fail(name, error)
        place = error.filename2 or error.filename or Path.cwd()  # the error of a write names no file
        end(Cause.ERROR, f"{name}: error: {place}: {error.strerror}: make room or give access, then run again")
    except Interrupted as stopped:
        end(Cause.STOPPED, f"{name}: interrupted {stopped}; run `make repro` to go on from there")
    except Exception as error:
        fail(name, error)


def fail(name: str, error: Exception) -> None:
    """Let a defect keep its traceback, which is shown once if several processes have it, or end because of it."""
    if not is_one_of_several():
        raise error
    from scratchlm.stage.processes import is_desertion

    if is_desertion(error):
        again = "see what it or its machine says, then run `make repro` to go on from the last snapshot"
        end(Cause.DESERTED, f"{name}: error: another process is gone ({one_line(error, ERROR_CHARS)}): {again}")
    end(Cause.ERROR, traceback.format_exc().rstrip())


def start_several(script: Path) -> None:
    """Run a stage that several processes can share as SCRATCHLM_LAUNCH says."""
    with deferred(may_hurry=False):  # as in `call_main`
        from scratchlm.stage.launch import launch
    launch(script)


def call_main(script: Path) -> None:
    """Check the params, load the script, and call its `main`."""
    # Importing torch takes seconds, and an interrupted import raises all kinds of errors.
    with deferred(may_hurry=False):
        from scratchlm.params.file import PARAMS, load_params

        if is_one_of_several():
            if script.stem not in SHARED:
                raise InputError("this stage runs as one process: start it without torchrun")
            from scratchlm.stage.processes import join

            join()
        params = load_params(PARAMS)
        main = runpy.run_path(str(script))["main"]
    main(params)
