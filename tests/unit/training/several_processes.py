"""Runs a function of the tests in several real processes, as torchrun would start them, and returns what each found."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

from torch import distributed

from scratchlm.stage import processes
from scratchlm.stage.interruption import Interrupted

TIMEOUT_S = 300


def in_processes(n: int, module: str, function: str, *arguments: Any, **environment: str) -> list[Any]:
    """Call `module.function(*arguments)` in `n` new processes; return what each returns. All must fit into JSON.

    One that raises an error returns {"error": its text}, one that is stopped {"stopped": true}.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    paths = os.pathsep.join(path for path in sys.path if path)
    call = json.dumps([module, function, arguments])
    started = [
        subprocess.Popen(
            [sys.executable, __file__, call],
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("SCRATCHLM_")},
                **{"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "SCRATCHLM_DEVICE": "cpu"},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"},
                **{"WORLD_SIZE": str(n), "RANK": str(rank), "LOCAL_RANK": str(rank)},
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]
    results = []
    try:
        for process in started:
            output, errors = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, errors[-3000:]
            results.append(json.loads(output.splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
            process.wait()
    return results


def main(call: str) -> None:
    module, function, arguments = json.loads(call)
    if os.environ["WORLD_SIZE"] != "1":
        distributed.init_process_group("gloo")
    # So that the others return what they found, too, where they would leave.
    for user in ("training.fit", "classifier.finetune", "assistant.tuning"):
        importlib.import_module(f"scratchlm.{user}").leave = lambda: None  # type: ignore[attr-defined]
    try:
        found = getattr(importlib.import_module(module), function)(*arguments)
    except (Interrupted, SystemExit):  # the first process, and the others
        found = {"stopped": True}
    except Exception as error:
        if processes.is_desertion(error):
            raise
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found), flush=True)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
