"""How the processes of a stage meet; `test_launch.py` has the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from torch.distributed import HashStore

from scratchlm.errors import InputError
from scratchlm.stage import processes
from scratchlm.stage.processes import meet

WORKER = """
import time
from scratchlm.stage.interruption import listen

listen()
print("listens", flush=True)
time.sleep(60)
"""


def test_a_process_that_never_comes_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST_MEETING_S", 0)
    with pytest.raises(InputError, match="1 of 2 processes have come in 0 minutes: see what the others' machines say"):
        meet(HashStore(), 2)


def test_a_process_whose_launcher_is_gone_before_it_listens_ends_at_once() -> None:
    environment = {**os.environ, "TORCHELASTIC_RUN_ID": "a", "SCRATCHLM_LAUNCHER": str(os.getppid())}
    ended = subprocess.run([sys.executable, "-c", WORKER], env=environment, timeout=30)
    assert ended.returncode == 1
