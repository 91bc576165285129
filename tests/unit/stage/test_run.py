"""How a stage ends, as its user sees it: real processes that run a small test stage."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "profiles/sample.yaml").read_bytes())
    return tmp_path


def run_stage(project: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run a stage `teach` with this body of `main`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    script = "\n".join(
        [
            "import errno, os, signal, sys",
            "from pathlib import Path",
            "from scratchlm.errors import InputError",
            "from scratchlm.files.atomic import write_text",
            f"def main(params):\n{lines}",
        ]
    )
    (project / "stages/teach.py").write_text(script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "scratchlm.stage", "stages/teach.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stage_gets_the_checked_params_of_its_folder(project: Path) -> None:
    ended = run_stage(project, "print(params.seed, type(params).__name__)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "123 Params\n", "")


def test_a_user_s_mistake_is_one_line_on_stderr_and_exit_1(project: Path) -> None:
    ended = run_stage(project, "raise InputError('text.csv is empty: give messages')")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "teach: error: text.csv is empty: give messages\n"


def test_mistakes_in_params_yaml_stop_the_stage_before_it_does_anything(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(re.sub(r"(n_heads|seed): .*", r"\1: none", path.read_text()))
    ended = run_stage(project, "write_text(Path('out'), 'done')")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "teach: error: params.yaml has 2 problems:\n"
        "  - model.n_heads: got 'none', allowed: a valid integer\n"
        "  - seed: got 'none', allowed: a valid integer\n"
    )
    path.unlink()
    ended = run_stage(project, "write_text(Path('out'), 'done')")
    assert ended.returncode == 1
    assert ended.stderr == "teach: error: params.yaml is missing: copy a profile with `make profile P=sample`\n"
    assert not (project / "out").exists()


def test_a_bug_keeps_its_traceback(project: Path) -> None:
    for body, last_line in (
        ("raise ValueError('ours')", "ValueError: ours"),
        ("Path('none').read_text()", "FileNotFoundError: [Errno 2] No such file or directory: 'none'"),
    ):
        ended = run_stage(project, body)
        assert ended.returncode == 1
        assert ended.stderr.startswith("Traceback") and ended.stderr.splitlines()[-1] == last_line


def test_a_missing_out_of_an_earlier_stage_is_one_line(project: Path) -> None:
    ended = run_stage(project, "Path('data/corpus').iterdir().__next__()")
    assert ended.returncode == 1
    missing = "data/corpus: No such file or directory"
    assert ended.stderr == f"teach: error: {missing}; run `make repro` to build it again\n"


def test_a_terminated_stage_removes_half_written_files(project: Path) -> None:
    body = (
        "from scratchlm.files.atomic import atomic_path\n"
        "with atomic_path(Path('out.txt')) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    ended = run_stage(project, body)
    assert ended.returncode == 1
    assert ended.stderr == "teach: interrupted; run `make repro` to go on\n"
    assert not [path for path in project.rglob("*") if "out" in path.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_full_disk_is_one_line_that_says_where_and_what_to_do(project: Path) -> None:
    # The error of a write, unlike that of an open, does not name its file.
    ended = run_stage(project, "with open('/dev/full', 'w') as file:\n    file.write('x' * 100_000)")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"teach: error: {project}: No space left on device: make room or give access, then run again\n"
    )


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM"])
def test_a_place_that_cannot_be_written_is_one_line(project: Path, name: str) -> None:
    ended = run_stage(project, f"raise OSError(errno.{name}, os.strerror(errno.{name}), 'data/x')")
    said = os.strerror(getattr(errno, name))
    assert ended.returncode == 1
    assert ended.stderr == f"teach: error: data/x: {said}: make room or give access, then run again\n"


def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(project: Path) -> None:
    ended = run_stage(
        project,
        "from scratchlm.files.atomic import atomic_path\n"
        "with atomic_path(Path('out')) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()",
    )
    assert ended.returncode == 1
    assert ended.stderr == "teach: interrupted; run `make repro` to go on\n"
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "stages"]


def test_two_signals_in_quick_succession_end_in_one_line(project: Path) -> None:
    """The second signal arrives while the first exception is handled, and another one at the very end."""
    ended = run_stage(
        project,
        "import atexit\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "finally:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n",
    )
    assert ended.returncode == 1
    assert ended.stderr == "teach: interrupted; run `make repro` to go on\n"


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)])
def test_a_stage_stopped_while_it_loads_ends_in_one_line(project: Path, numbers: tuple[signal.Signals, ...]) -> None:
    """An import that is interrupted raises errors of its own, as torch's does: it must not be interrupted."""
    (project / "stages/slow.py").write_text(
        "import time\n"
        "try:\n"
        "    print('loading', flush=True)\n"
        "    for _ in range(20):\n"
        "        time.sleep(0.05)\n"
        "except KeyboardInterrupt:\n"
        "    raise RuntimeError('half imported')\n"
        "def main(params):\n"
        "    print('swallowed')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "scratchlm.stage", "stages/slow.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors == "slow: interrupted; run `make repro` to go on\n"


def test_a_signal_after_the_results_are_written_changes_nothing(project: Path) -> None:
    ended = run_stage(
        project,
        "import atexit\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "print('done')",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_a_stage_that_swallows_ctrl_c_can_be_stopped_by_another(project: Path) -> None:
    ended = run_stage(
        project,
        "import time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
        "time.sleep(1.2)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('a second SIGTERM changes nothing')\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(10)\n",
    )
    assert (ended.returncode, ended.stdout) == (1, "a second SIGTERM changes nothing\n")
    assert ended.stderr == "teach: interrupted; run `make repro` to go on\n"


@pytest.mark.parametrize(
    "words", [(), ("stages/none.py",), ("pretrain",), ("stages/teach.py", "more"), ("params.yaml",)]
)
def test_the_launcher_wants_one_script(project: Path, words: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "scratchlm.stage", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stderr == f"stage: error: got {list(words)}, wanted one stage script, such as stages/pretrain.py\n"
