"""The script that serves a model: a wrong name ends in one line. tests/parity/test_smollm2_judge.py serves one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_deps import ROOT


def run_script(folder: Path, *arguments: str, path: Path | None = None) -> tuple[int, str, str]:
    command = [sys.executable, ROOT / "scripts/serve_gguf.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path or ""), str(ROOT / "src")])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder in which xllamacpp is there, and can serve nothing."""
    (tmp_path / "fake").mkdir()
    lines = ["class Any:", "    def __getattr__(self, name): return Any()", "CommonParams = Any"]
    (tmp_path / "fake/xllamacpp.py").write_text("\n".join([*lines, "def Server(params): raise RuntimeError('failed')"]))
    return tmp_path / "fake"


def test_what_llama_cpp_cannot_serve_is_told_in_one_line(tmp_path: Path, fake: Path) -> None:
    (tmp_path / "a.gguf").write_text("text")
    said = "llama.cpp cannot serve a.gguf on port 80: is it a GGUF file, is the port free?"
    assert run_script(tmp_path, "a.gguf", "--port", "80", path=fake) == (1, "", f"serve_gguf: error: {said}\n")


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    said = f"no port {port}, wanted 0 to 65535 (0 is any free one)"
    assert run_script(tmp_path, "a.gguf", f"--port={port}") == (1, "", f"serve_gguf: error: {said}\n")


def test_without_xllamacpp_nothing_is_downloaded(tmp_path: Path) -> None:
    program = (
        "import importlib.util, sys; importlib.util.find_spec = lambda name: None; import serve_gguf\n"
        "serve_gguf.fetch = None; serve_gguf.main()"
    )
    command = [sys.executable, "-c", program, "smollm2-135M"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "src")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: xllamacpp is not installed: " in done.stderr and "llama-server" in done.stderr


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path, fake: Path) -> None:
    said = "no file gone.gguf: name a GGUF file, or smollm2-135M"
    assert run_script(tmp_path, "gone.gguf", path=fake) == (1, "", f"serve_gguf: error: {said}\n")
