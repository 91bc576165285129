"""The benchmark of judges: a wrong name or a missing file ends in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_deps import ROOT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2", "python benchmarks/llm_judge.py openai:MODEL"),
        ("openai:smollm2", "llm_judge: error: .*judged-answers.json"),
    ],
)
def test_a_wrong_name_or_a_missing_file_is_told_in_one_line(tmp_path: Path, name: str, said: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SCRATCHLM_MIRROR": str(tmp_path)}
    command = [sys.executable, ROOT / "benchmarks/llm_judge.py", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.search(said, done.stderr)
