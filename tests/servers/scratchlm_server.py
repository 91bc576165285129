"""The project's own server, as a user starts it: a process on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class ScratchlmServer:
    """A context in which `scratchlm serve` serves the models of a project's folder; then it is killed.

    What it prints as errors goes to the file `log`.
    """

    project: Path
    log: Path
    port: int = 0  # any free one, and then the same again
    printed: str = ""  # what it says when it is ready

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL holds."""
        return f"{self.host}/v1"

    def start(self) -> None:
        """Start it, again on the same port if it ran before, and wait until it listens."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scratchlm.cli", "serve", "--port", str(self.port)],
                cwd=self.project,
                env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "SCRATCHLM_DEVICE": "cpu"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.printed = "".join(self.process.stdout.readline() for _ in range(4))
        assert self.printed.startswith("page:    http://127.0.0.1:"), self.log.read_text()
        self.port = int(self.printed.split()[1].rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 20) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(timeout_s)
