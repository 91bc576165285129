"""What `make repro` does before it starts DVC: check params.yaml, and repair DVC's own files after a kill.

DVC reads only the params that stages use; here every key is checked, and all mistakes are reported at once.

DVC writes some files in place: dvc.lock, and .dvc/tmp/rwlock, its list of the processes that read and write files. A
kill or a power cut leaves them half-written, and DVC stops at them. They are moved or removed, and DVC writes them
again: dvc.lock from its run cache, so that no stage runs again.
"""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import time
from itertools import chain
from pathlib import Path

import psutil
from dvc.exceptions import DvcException
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
from dvc.utils.strictyaml import merge_conflict_marker
from voluptuous import Invalid

from scratchlm.errors import InputError
from scratchlm.params.file import PARAMS, load_params

# In a cache that several projects share, an entry that is younger may be one that another is writing: seconds.
SHARED_AGE_S = 60


def repair() -> None:
    """Move or remove DVC's damaged files in the project of the current folder, with a line on stderr for each.

    Changes nothing while a DVC process works in the project or holds its locks. If the project cannot be opened, DVC
    itself will say why.
    """
    try:
        with Repo() as repo:
            root, folder = Path(repo.root_dir), Path(repo.tmp_dir)
            hardlink = repo.config["core"].get("hardlink_lock", False)
            with repo.lock, make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink):
                if not dvc_runs_in(root):
                    repair_rwlock(folder / RWLOCK_FILE)
                    repair_dvc_lock(root / "dvc.lock", folder / "dvc.lock.damaged")
                    cache = Path(repo.cache.legacy.path)
                    is_own = cache.is_relative_to(root)
                    repair_run_cache(cache / "runs", math.inf if is_own else time.time() - SHARED_AGE_S)
    except (DvcException, OSError, sqlite3.Error):
        return


def dvc_runs_in(root: Path) -> bool:
    """True if a process that was started as `dvc` or `python -m dvc` works in a folder."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        names = {Path(argument).name for argument in process.info["cmdline"] or []}
        cwd = process.info["cwd"]  # None for another user's process, which the locks keep out
        if names & {"dvc", "dvc.exe"} and cwd is not None and Path(cwd).is_relative_to(root):
            return True
    return False


def repair_rwlock(path: Path) -> None:
    """Remove rwlock if it is damaged, or if all processes in it are gone."""
    try:
        entries = SCHEMA(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return
    except (ValueError, Invalid):
        remove(path)
        return
    holders = {info["pid"] for info in chain(entries["write"].values(), *entries["read"].values())}
    written_s = path.stat().st_mtime
    if holders and not any(may_hold(pid, written_s) for pid in holders):
        path.unlink()


def may_hold(pid: int, written_s: float) -> bool:
    """True if a process can be the one that was recorded at `written_s`; DVC compares only the PID.

    PIDs are reused, above all after a reboot, and a killed process keeps its PID until its parent waits for it, which
    in a container may never happen.
    """
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() <= written_s and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def repair_dvc_lock(path: Path, aside: Path) -> None:
    """Move dvc.lock to `aside` if it is cut short; merge conflicts are left to the user."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    if not is_whole(content) and not merge_conflict_marker.search(content.decode(errors="replace")):
        path.replace(aside)
        say(f"{path} was cut short, by a kill or a power cut: moved to {aside}, DVC writes it again")


def is_whole(content: bytes) -> bool:
    """True if a dvc.lock is complete up to the size of its last out.

    Stages that are missing after that are added by DVC.
    """
    if not content.endswith(b"\n"):
        return False
    try:
        stages = COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode(), "dvc.lock"))["stages"]
        for out in [*stages.values()][-1].get("outs", [])[-1:]:
            return ("nfiles" if out["md5"].endswith(".dir") else "size") in out
    except (UnicodeDecodeError, YAMLFileCorruptedError, Invalid, LookupError):
        return False
    return True


def repair_run_cache(folder: Path, latest_s: float) -> None:
    """Remove half-written entries of the run cache, which DVC would use as the newest ones, and folders left empty.

    DVC makes an entry's folder before the entry, and stops at an empty one. What was written after `latest_s` stays.
    """
    for path in folder.glob("*/*/*.tmp"):
        if path.stat().st_mtime <= latest_s:
            remove(path)
    for path in folder.glob("*/*"):
        if path.is_dir() and not any(path.iterdir()) and path.stat().st_mtime <= latest_s:
            path.rmdir()


def remove(path: Path) -> None:
    path.unlink()
    say(f"{path} was cut short, by a kill or a power cut: removed")


def say(line: str) -> None:
    print(f"preflight: {line}", file=sys.stderr)


def main() -> None:
    """Check params.yaml, then repair DVC's files; exit with 1 and one message if a param is wrong."""
    try:
        load_params(PARAMS)
    except InputError as error:
        sys.exit(f"params: error: {error}")
    repair()


if __name__ == "__main__":
    main()
