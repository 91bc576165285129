"""The exceptions that a user's mistake raises, and what a program says of them."""

BUILD_AGAIN = "run `make repro` to build it again"


class InputError(ValueError):
    """Something the user gave (a parameter, a file, a server) cannot be used.

    The message names what was got, what was wanted and what to do. Stages and the command line print it
    as one clear error and exit with 1; everything else that is raised is a defect and keeps its traceback.
    """


class OutputError(InputError):
    """What a stage wrote is missing, damaged or does not fit the rest, so the stage must run again.

    The message says what is wrong; `explain` adds what to do.
    """


def explain(error: InputError) -> str:
    """Return what a program prints of an error: its message, and how to get a stage's output again."""
    message = str(error)
    if not isinstance(error, OutputError):
        return message
    return message + ("\n" if "\n" in message else "; ") + BUILD_AGAIN
