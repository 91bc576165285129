"""DVC's own files that a kill or a power cut damaged do not stop the next run; tested with the real dvc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dvc.exceptions import ReproductionError
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc_objects.fs.utils import tmp_fname
from preflight import repair, repair_rwlock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
# Every run of a command adds a line to `runs`; the stage `third` waits for a file `go`.
PIPELINE = """stages:
  first:
    cmd: echo first >> runs && cp given a
    deps:
      - given
    outs:
      - a
  second:
    cmd: echo second >> runs && mkdir b && cp a b/a
    deps:
      - a
    outs:
      - b
"""
WAITING = """
  third:
    cmd: while ! [ -e go ]; do sleep 0.05; done; echo 3 > c
    deps:
      - b
    outs:
      - c
"""
RWLOCK = ".dvc/tmp/rwlock"
DAMAGED = ".dvc/tmp/dvc.lock.damaged"
GONE = 2**22 + 1  # above every PID of Linux and macOS


@pytest.fixture(scope="module", autouse=True)
def own_dvc_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's DVC settings and caches out."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE"):
            patch.setenv(f"DVC_{name}_DIR", str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which both stages have run."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    (folder / "given").write_text("1")
    (folder / "dvc.yaml").write_text(PIPELINE)
    assert dvc(folder, "repro").returncode == 0
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `finished`, as the current folder."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def reproduce() -> None:
    """`dvc repro` in this process, which saves a second."""
    with Repo() as repo:
        repo.reproduce()


def entry(pid: int) -> str:
    return json.dumps({"write": {str(Path("a").absolute()): {"pid": pid, "cmd": "dvc repro"}}, "read": {}})


def content_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("dvc.lock", "runs", "a", "b/a")}


@pytest.mark.parametrize("left", ["", '{"write": {"/a": {"pid": 1', "\0" * 40, '{"write": {"/a": {}}}', "\udcff"])
def test_a_damaged_rwlock_stops_dvc_and_is_removed(
    left: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(project)
    (project / RWLOCK).write_text(left, errors="surrogateescape")
    with pytest.raises((ReproductionError, UnicodeDecodeError)):
        reproduce()
    repair()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"preflight: {project / RWLOCK} was cut short, by a kill or a power cut: removed"
    reproduce()
    assert content_of(project) == before


def test_an_rwlock_cut_at_any_byte_is_removed(project: Path) -> None:
    whole = entry(os.getpid())
    for length in range(len(whole)):
        (project / RWLOCK).write_text(whole[:length])
        repair_rwlock(project / RWLOCK)
        assert not (project / RWLOCK).exists(), f"after {length} bytes"


def test_a_dvc_lock_cut_anywhere_is_restored_without_a_run(project: Path) -> None:
    before = content_of(project)
    whole = before["dvc.lock"]
    moved = 0
    line_ends = {place + 1 for place, byte in enumerate(whole[:-1]) if byte == ord("\n")}
    for length in {*line_ends, *range(0, len(whole), 47), *range(len(whole) - 8, len(whole))}:
        (project / "dvc.lock").write_bytes(whole[:length])
        repair()
        moved += (project / DAMAGED).exists()
        (project / DAMAGED).unlink(missing_ok=True)
        reproduce()
        assert content_of(project) == before, f"after {length} bytes"
    assert moved > 8


def test_a_cut_dvc_lock_is_moved_aside_and_one_line_says_where(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = (project / "dvc.lock").read_bytes()[:-10]
    (project / "dvc.lock").write_bytes(cut)
    repair()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"preflight: {project / 'dvc.lock'} was cut short, by a kill or a power cut: moved to {project / DAMAGED}, "
        "DVC writes it again"
    )
    assert (project / DAMAGED).read_bytes() == cut
    assert not (project / "dvc.lock").exists()


def test_a_half_written_entry_of_the_run_cache_stops_dvc_and_is_removed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(project)
    runs = list((project / ".dvc/cache/runs").glob("*/*/*"))
    assert len(runs) == 2
    for path in runs:
        half = path.with_name(tmp_fname())
        half.write_bytes(path.read_bytes().partition(b"outs:")[0])
        os.utime(half, (0, time.time() + 60))
    (project / "dvc.lock").unlink()
    with pytest.raises(ReproductionError):
        reproduce()
    repair()
    assert len(capsys.readouterr().err.splitlines()) == 2
    reproduce()
    assert content_of(project) == before
    assert sorted((project / ".dvc/cache/runs").glob("*/*/*")) == sorted(runs)


@pytest.mark.parametrize("half_written", [True, False])
def test_an_entry_of_the_run_cache_killed_before_it_was_whole_leaves_no_folder_that_stops_dvc(
    half_written: bool, project: Path
) -> None:
    before = (project / "dvc.lock").read_bytes()
    for path in list((project / ".dvc/cache/runs").glob("*/*/*")):
        if half_written:
            path.with_name(tmp_fname()).write_bytes(path.read_bytes()[:9])
        path.unlink()
    (project / "dvc.lock").unlink()
    repair()
    reproduce()
    assert (project / "dvc.lock").read_bytes() == before


def test_merge_conflicts_are_left_to_the_user(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conflict = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> other\n"
    (project / "dvc.lock").write_text(conflict)
    repair()
    assert (project / "dvc.lock").read_text() == conflict
    assert capsys.readouterr().err == ""


def test_an_undamaged_project_is_left_as_it_is_without_output(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(project)
    assert (project / RWLOCK).read_text() == "{}"
    repair()
    (project / RWLOCK).unlink()
    repair()
    assert content_of(project) == before
    assert not (project / RWLOCK).exists()
    assert capsys.readouterr().err == ""


def test_outside_a_project_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    repair()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[str]]:
    """A process that has nothing to do with DVC."""
    with subprocess.Popen(["sleep", "60"], text=True) as process:
        yield process
        process.kill()


def test_the_lock_of_a_process_whose_pid_was_reused_is_removed(stranger: subprocess.Popen[str], project: Path) -> None:
    (project / RWLOCK).write_text(entry(stranger.pid))
    os.utime(project / RWLOCK, (0, time.time() - 3600))
    with pytest.raises(ReproductionError, match="first"):
        reproduce()
    repair()
    assert not (project / RWLOCK).exists()
    reproduce()


def test_the_lock_of_a_process_that_may_be_its_owner_stays(stranger: subprocess.Popen[str], project: Path) -> None:
    kept = entry(stranger.pid)
    (project / RWLOCK).write_text(kept)  # for example by a script that uses DVC's API
    repair()
    assert (project / RWLOCK).read_text() == kept


def test_the_lock_of_processes_that_are_gone_is_removed(project: Path) -> None:
    (project / RWLOCK).write_text(entry(GONE))
    repair()
    assert not (project / RWLOCK).exists()


def test_the_lock_of_a_zombie_process_is_removed(stranger: subprocess.Popen[str], project: Path) -> None:
    (project / RWLOCK).write_text(entry(stranger.pid))
    stranger.kill()
    os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ReproductionError, match="first"):
        reproduce()
    repair()
    assert not (project / RWLOCK).exists()
    reproduce()


def test_a_running_dvc_is_not_disturbed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "dvc.yaml").write_text(PIPELINE + WAITING)
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as alive:
        try:
            wait_for(lambda: str(project / "c") in (project / RWLOCK).read_text())
            held = (project / RWLOCK).read_text()
            repair()
            assert (project / RWLOCK).read_text() == held
            (project / RWLOCK).write_text(held[:-1])  # damaged, though not by the running dvc
            repair()
            assert (project / RWLOCK).read_text() == held[:-1]
            (project / RWLOCK).write_text(held)
        finally:
            (project / "go").touch()
        output, _ = alive.communicate(timeout=60)
    assert alive.returncode == 0, output
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_nothing_is_touched_while_another_process_has_a_lock(name: str, project: Path) -> None:
    (project / RWLOCK).write_text("{")
    (project / "dvc.lock").write_text("schema: '2")
    with make_lock(str(project / ".dvc/tmp" / name)):
        repair()
    assert ((project / RWLOCK).read_text(), (project / "dvc.lock").read_text()) == ("{", "schema: '2")


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened for 60 s")
