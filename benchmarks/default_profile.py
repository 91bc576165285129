"""Time the default pipeline from nothing, beside an earlier commit, and beside busy processes.

python benchmarks/default_profile.py                      this commit, idle, twice, and with one busy process per core
python benchmarks/default_profile.py --beside f568bce     also that commit, in turn with this one

What is committed is cloned, and runs in this Python's environment; nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
TURNS = 2
BUSY = [sys.executable, "-c", "while True: pass"]


def clone(commit: str, folder: Path) -> Path:
    """Clone this repository at a commit."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    return folder


def repro_s(project: Path) -> float:
    """Run the whole pipeline of a clone from nothing, and return its seconds."""
    subprocess.run(["git", "clean", "-fdxq"], cwd=project, check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    environment |= {"TQDM_DISABLE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = time.perf_counter()
    repro = [sys.executable, "-m", "dvc", "repro", "--force"]
    subprocess.run(repro, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def busy_repro_s(project: Path) -> float:
    """Run the whole pipeline while one other process for each core computes without end."""
    with ExitStack() as stack:
        for _ in range(len(os.sched_getaffinity(0))):
            process = stack.enter_context(subprocess.Popen(BUSY))
            stack.callback(process.kill)
        return repro_s(project)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--beside", metavar="COMMIT", help="an earlier commit to time in turn with this one")
    commit = parser.parse_args().beside
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = clone("HEAD", folder / "ours")
        theirs = clone(commit, folder / "theirs") if commit else None
        ours_s, theirs_s = [], []
        for _ in range(TURNS):
            if theirs:
                theirs_s.append(repro_s(theirs))
                print(f"{commit:12} {theirs_s[-1]:6.1f} s", flush=True)
            ours_s.append(repro_s(ours))
            print(f"this commit  {ours_s[-1]:6.1f} s", flush=True)
        busy_s = busy_repro_s(ours)
        print(f"this commit  {busy_s:6.1f} s beside busy processes: {busy_s / median(ours_s):.2f} times its idle time")
        if theirs_s:
            print(f"idle, this commit takes {median(ours_s) / median(theirs_s):.2f} of the time of {commit}")


if __name__ == "__main__":
    main()
