"""The one exception that a user's mistake raises."""


class InputError(ValueError):
    """Something the user gave (a parameter, a file, a server) cannot be used.

    The message names what was got, what was wanted and what to do. Stages and the command line print it
    as one clear error and exit with 1; everything else that is raised is a defect and keeps its traceback.
    """
