"""The exceptions for a user's mistakes, and what a program prints for them."""

BUILD_AGAIN = "run `make repro` to build it again"


class InputError(ValueError):
    """Something the user gave (a parameter, a file, a server) cannot be used.

    The message names what was got, what was wanted and what to do. Stages and the command line print it
    as one clear error and exit with 1. Any other exception is a defect and keeps its traceback.
    """


class OutputError(InputError):
    """What a stage wrote is missing, damaged or does not fit the rest, so the stage must run again.

    The message says what is wrong; `explain` adds what to do.
    """


def explain(error: InputError) -> str:
    """Return what a program prints for an error: its message, and for an OutputError how to build the output again."""
    message = str(error)
    if not isinstance(error, OutputError):
        return message
    return message + ("\n" if "\n" in message else "; ") + BUILD_AGAIN
