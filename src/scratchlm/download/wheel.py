"""A wheel, downloaded by pip from the index that the user has set: never installed, and nothing of it is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from scratchlm.download.web import GaveUp, WebSession
from scratchlm.files.text import one_line

OUTPUT_CHARS = 2**16  # of pip's output, from its end, that are looked through
REASON_CHARS = 300
# What pip prints.
ERROR, EXCEPTION = "ERROR: ", "Exception:"
NO_PIP = "No module named pip"
NO_VERSIONS = "(from versions: none)"
NO_CONNECTION = re.compile(r"connection broken by '(?:.*\[Errno -?\d+\] ([^']+)'|)")
OTHER_HASH = re.compile(r"Got +([0-9a-f]{64})")


def download_wheel(requirement: str, sha256: str, folder: Path, session: WebSession) -> None:
    """Let pip download the wheel of a pinned requirement, such as "numpy==2.0.0", into a folder.

    pip accepts no other file than the one with this hash. It obeys the user's settings: index, proxy, certificates.
    It is killed when the session's time is over and when this process is interrupted. Raises GaveUp with the reason if
    it fails.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"]
    command += ["--retries", "1", "--dest", str(folder), "-r", str(wanted)]
    # What a killed pip leaves behind lies in the folder too, which its owner removes.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with tempfile.TemporaryFile(dir=folder) as output:  # a pipe could fill up, and the console should not
        # In a session of its own, with whatever it starts, and without a terminal to ask for a password.
        try:
            pip = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise GaveUp(f"{sys.executable}: {(error.strerror or 'cannot be started').lower()}") from None
        try:
            code = pip.wait(session.check_time())
        except subprocess.TimeoutExpired:
            raise GaveUp(f"not finished within {session.limits.total_s:,g} s") from None
        finally:
            if pip.poll() is None:
                os.killpg(pip.pid, signal.SIGKILL)
                pip.wait()
        if code != 0:
            output.seek(-min(output.seek(0, os.SEEK_END), OUTPUT_CHARS), os.SEEK_END)
            raise GaveUp(reason(output.read().decode(errors="replace"), code, sha256))


def reason(output: str, code: int, sha256: str) -> str:
    """Return why pip failed to get the wheel with this hash, in one line.

    The last line of its output says too little of the usual cases.
    """
    if NO_PIP in output:
        return f"{sys.executable} has no pip: add it with `{sys.executable} -m ensurepip`"
    if got := OTHER_HASH.search(output):
        return f"sha256 {got[1]}, expected {sha256}: the package index has another file under this name"
    if (broken := NO_CONNECTION.search(output)) and NO_VERSIONS in output:
        return f"no connection to the package index ({(broken[1] or 'failed').lower()})"
    errors = [line.removeprefix(ERROR) for line in output.splitlines() if line.startswith(ERROR)]
    problem = errors[-1] if errors and errors[-1] != EXCEPTION else (output.splitlines() or [f"exit code {code}"])[-1]
    return one_line(problem, REASON_CHARS)
