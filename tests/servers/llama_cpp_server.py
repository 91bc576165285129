"""llama.cpp's own server with a real model, on 127.0.0.1: a process that can die and come back on the same port."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# In a process of its own: a crash there fails one test instead of ending them all.
PROGRAM = """
import sys
from pathlib import Path
from serve_gguf import serve
path, name, context, n_at_once, port = sys.argv[1:]
server = serve(Path(path), name, int(context), int(n_at_once), int(port), n_threads=1)
print(server.listening_address, flush=True)
sys.stdin.read()  # until the test is over
"""


@dataclass
class LlamaCppServer:
    """A context that serves the GGUF file `model` as `name`, with `context` tokens for each of `n_at_once` questions.

    What it prints goes to the file `log`.
    """

    model: Path
    name: str
    log: Path
    context: int = 2048
    n_at_once: int = 4
    host: str = ""
    port: int = 0  # any free one, and then the same again

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL holds."""
        return f"{self.host}/v1"

    def start(self) -> None:
        """Load the model and listen, again on the same port where it was killed before."""
        command = [sys.executable, "-c", PROGRAM, str(self.model), self.name]
        command += [str(self.context), str(self.n_at_once), str(self.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        self.host = self._process.stdout.readline().strip()
        assert self.host.startswith("http://127.0.0.1:"), self.log.read_text()
        self.port = int(self.host.rpartition(":")[2])

    def n_asked(self) -> int:
        """How many questions were begun since the first start, but for those refused as too long."""
        log = self.log.read_text()
        return log.count("processing task") - log.count("exceeds the available context size")

    def kill(self) -> None:
        """End the process at once, amid its answers."""
        self._process.kill()
        self._process.communicate()
