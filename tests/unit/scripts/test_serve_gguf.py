"""The script that serves a model: a wrong name ends in one line. tests/parity/test_smollm2_judge.py serves one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dvc_deps import ROOT


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts/serve_gguf.py", "gone.gguf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "serve_gguf: error: no file gone.gguf: name a GGUF file, or smollm2-135M\n"
