"""Results shared as docs/scale.md says: a remote, a cache of two users, workers in parallel; real DVC, real users."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from project import Project, TinyRun
from test_experiments import CHANGE, wait_for_queue
from test_repro import stages_run

pytestmark = pytest.mark.slow

UP_TO_DATE = "Data and pipelines are up to date."
WEIGHTS = "models/assistant/model.safetensors"
DVC = (sys.executable, "-m", "dvc")
TIMEOUT_S = 120


def clone(project: Project, folder: Path) -> Project:
    """Clone what Git has of a project, as another user would."""
    subprocess.run(["git", "clone", "--quiet", project.folder, folder], check=True)
    cloned = Project(folder)
    cloned.git("config", "user.name", "Other")
    cloned.git("config", "user.email", "other@localhost")
    return cloned


def sha256(project: Project, path: str) -> str:
    return hashlib.sha256((project.folder / path).read_bytes()).hexdigest()


def kept(project: Project) -> dict[str, str]:
    """Return what a run leaves for Git: dvc.lock and the metrics."""
    metrics = [f"metrics/{path.name}" for path in (project.folder / "metrics").iterdir()]
    return {path: project.read(path) for path in ("dvc.lock", *metrics)}


# --- a remote -----------------------------------------------------------------------------------------------


@pytest.fixture
def teacher(project: Project, tmp_path: Path) -> Project:
    """A project whose results are in a remote in a folder."""
    project.dvc("remote", "add", "--default", "class", str(tmp_path / "results"))
    project.commit("A remote")
    project.dvc("push")
    return project


def test_a_clone_pulls_and_then_nothing_runs(teacher: Project, tmp_path: Path) -> None:
    student = clone(teacher, tmp_path / "student")
    student.dvc("pull")
    assert student.git("status", "--porcelain") == ""
    assert sha256(student, WEIGHTS) == sha256(teacher, WEIGHTS)
    output = student.run(*student.repro_command).stdout
    assert stages_run(output) == [] and UP_TO_DATE in output
    assert kept(student) == kept(teacher)
    assert student.git("status", "--porcelain") == ""
    student.run(sys.executable, "-c", "import sys; sys.path.insert(0, 'src'); import scratchlm.cli; scratchlm.cli.cli()",
                "complete", "Clara took", "--tokens", "2")  # fmt: skip
    student.dvc("exp", "run", "-S", CHANGE)


def test_a_clone_pulls_only_what_a_stage_needs(teacher: Project, tmp_path: Path) -> None:
    student = clone(teacher, tmp_path / "student")
    output = student.dvc("repro", "--pull", "finetune_classifier").stdout
    assert stages_run(output) == []
    assert (student.folder / "models/classifier/model.safetensors").is_file()
    assert not (student.folder / WEIGHTS).exists()


def test_an_experiment_is_pushed_and_pulled_by_its_name(teacher: Project, tmp_path: Path) -> None:
    teacher.dvc("exp", "run", "--name", "last-layer", "-S", CHANGE)
    changed = sha256(teacher, "models/classifier/model.safetensors")
    hub = tmp_path / "hub.git"
    teacher.git("init", "--quiet", "--bare", str(hub))
    teacher.git("remote", "add", "origin", str(hub))
    teacher.git("push", "--quiet", "origin", "HEAD")
    teacher.dvc("exp", "push", "origin", "last-layer")
    student = clone(Project(hub), tmp_path / "student")
    student.dvc("pull")
    student.dvc("exp", "pull", "origin", "last-layer")
    student.dvc("exp", "apply", "last-layer")
    assert sha256(student, "models/classifier/model.safetensors") == changed
    assert stages_run(student.dvc("repro").stdout) == []


@pytest.mark.parametrize(
    ("copied", "ran"), [(False, ["finetune_classifier"]), (True, [])], ids=["run-cache", "copied cache"]
)
def test_only_a_copied_cache_brings_runs_that_are_not_committed(
    copied: bool, ran: list[str], teacher: Project, tmp_path: Path
) -> None:
    """`dvc push --run-cache` pushes that a stage ran, and not what it wrote: the page advises against it."""
    teacher.dvc("exp", "run", "-S", CHANGE)
    teacher.git("checkout", "--quiet", ".")
    teacher.dvc("checkout")
    if copied:
        shutil.copytree(teacher.folder / ".dvc/cache", tmp_path / "results", dirs_exist_ok=True)
    else:
        teacher.dvc("push", "--run-cache")
    student = clone(teacher, tmp_path / "student")
    assert stages_run(student.dvc("exp", "run", "--pull", "-S", CHANGE).stdout) == ran


# --- a cache of two users -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """A user of this machine, in the group that shares the cache."""

    uid: int
    project: Project

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run DVC as this user, who may read everything, as Python may lie in root's home, but write only what is his."""
        may_read = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
        own = self.project.folder.parent
        done = subprocess.run(
            ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--groups", str(GROUP), *may_read]
            + [*DVC, *arguments],
            cwd=self.project.folder,
            env={**self.project.environment, "HOME": str(own), "USER": f"user{self.uid}", "LOGNAME": f"user{self.uid}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


GROUP = 3000
UIDS = (3001, 3002)


@pytest.fixture
def users(tiny_run: TinyRun, tmp_path: Path) -> Iterator[tuple[User, User]]:
    """Two users with a clone each, and one cache."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("two users need root and setpriv")
    above = [folder for folder in (tmp_path, *tmp_path.parents) if not folder.stat().st_mode & stat.S_IXOTH]
    for folder in above:  # pytest's own folders are only for whom it runs as
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    shared = tmp_path / "cache"
    shared.mkdir()
    os.chown(shared, 0, GROUP)
    shared.chmod(0o2770)
    found = []
    for uid in UIDS:
        project = clone(tiny_run.project, tmp_path / f"home{uid}" / "project")
        project.dvc("cache", "dir", "--local", str(shared))
        project.dvc("config", "--local", "cache.shared", "group")
        home = project.folder.parent
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        home.chmod(0o755)
        found.append(User(uid, project))
    yield found[0], found[1]
    for folder in above:
        folder.chmod(folder.stat().st_mode & ~stat.S_IXOTH)


def test_what_one_user_has_computed_the_other_takes_from_the_cache(users: tuple[User, User], tmp_path: Path) -> None:
    first, second = users
    stages = stages_run(first.dvc("repro", "finetune_classifier").stdout)
    assert "finetune_classifier" in stages
    output = second.dvc("repro", "finetune_classifier").stdout
    assert stages_run(output) == [] and output.count("is cached - skipping run") == len(stages)
    for path in ("models/classifier/model.safetensors", "metrics/finetune_classifier.json"):
        assert sha256(first.project, path) == sha256(second.project, path)
    # The second adds to folders that the first has made, and the first takes that.
    assert stages_run(second.dvc("repro", "finetune_classifier", "prepare_instructions").stdout)
    assert stages_run(first.dvc("repro", "prepare_instructions").stdout) == []
    for path in (tmp_path / "cache").rglob("*"):
        mode, group = path.stat().st_mode, path.stat().st_gid
        assert group == GROUP and mode & stat.S_IRGRP, path
        assert not path.is_dir() or mode & stat.S_IWGRP, path


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_stages_write_anew_what_was_a_link_into_the_cache(kind: str, project: Project, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.move(project.folder / ".dvc/cache", cache)
    project.dvc("cache", "dir", "--local", str(cache))
    project.dvc("config", "--local", "cache.type", f"{kind},copy")
    project.dvc("checkout", "--relink")
    weights = project.folder / "models/classifier/model.safetensors"
    assert weights.is_symlink() if kind == "symlink" else weights.stat().st_nlink > 1
    before = kept(project)
    project.dvc("repro", "--force", "finetune_classifier")
    project.dvc("exp", "run", "-S", CHANGE, "finetune_classifier")
    project.git("checkout", "--quiet", ".")
    project.dvc("checkout")
    assert kept(project) == before
    for path in (cache / "files/md5").glob("??/*"):
        found = hashlib.md5(path.read_bytes()).hexdigest()
        assert path.parent.name + path.name.removesuffix(".dir") == found


@pytest.mark.parametrize("age_s", [0, 120])
def test_what_another_project_may_be_writing_into_a_shared_cache_stays(
    age_s: int, project: Project, tmp_path: Path
) -> None:
    half = tmp_path / "cache/runs/ab/abcd/half.tmp"
    half.parent.mkdir(parents=True)
    half.write_text("cmd: ")
    os.utime(half, (time.time() - age_s,) * 2)
    project.dvc("cache", "dir", "--local", str(tmp_path / "cache"))
    project.run(sys.executable, "-c", "import sys; sys.path[:0] = ['src', 'scripts']; import preflight; preflight.main()")
    assert half.exists() == (age_s == 0)


# --- workers ------------------------------------------------------------------------------------------------


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def workers(project: Project) -> list[psutil.Process]:
    """List the queue's workers of a project."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "queue-worker" in (process.info["cmdline"] or []) and process.info["cwd"] is not None:
            if Path(process.info["cwd"]).is_relative_to(project.folder):
                found.append(process)
    return found


def start_worker(project: Project, number: int, gpu: str) -> None:
    """Start the queue's worker of that number with a GPU of its own, and wait until DVC sees it."""
    environment = {**project.environment, "CUDA_VISIBLE_DEVICES": gpu}
    # Not with pipes: the worker in the background inherits them.
    start = [*DVC, "queue", "start", "--jobs", str(number)]
    subprocess.run(start, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    wait_until(lambda: f"{number} active" in project.dvc("queue", "status").stdout)


def test_two_workers_have_a_gpu_each_and_one_that_is_killed_loses_no_other_experiment(project: Project) -> None:
    long = ["-S", "finetune_classifier.epochs=60", "-S", "finetune_classifier.batch_size=8"]
    for seed, changes in ((1, long), (2, long), (3, [])):
        project.dvc("exp", "run", "--queue", "--name", f"seed-{seed}", "-S", f"seed={seed}", *changes)
    project.dvc("exp", "run", "--queue", "--name", "wrong", "-S", "generate.temperature=-1")
    try:
        start_worker(project, 1, "0")
        start_worker(project, 2, "1")
        by_gpu = {process.environ()["CUDA_VISIBLE_DEVICES"]: process for process in workers(project)}
        assert sorted(by_gpu) == ["0", "1"]
        inherited = [child.environ().get("CUDA_VISIBLE_DEVICES") for child in by_gpu["1"].children(recursive=True)]
        assert set(inherited) == {"1"}
        children = by_gpu["1"].children(recursive=True)
        by_gpu["1"].kill()
        for child in children:
            if child.is_running():
                child.kill()
        left = {"seed-1", "seed-3"}
        wait_until(lambda: all(state(project).get(name) == "Success" for name in left))
        wait_until(lambda: state(project).get("wrong") == "Failed")
    finally:
        project.dvc("queue", "stop", "--kill")
        for process in workers(project):
            process.kill()
    assert "generate.temperature" in project.dvc("queue", "logs", "wrong").stdout
    for name in left:
        (ref,) = project.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").split()
        metrics = json.loads(project.git("show", f"{ref}:metrics/finetune_classifier.json"))
        assert metrics["test_accuracy"] > 0
    assert project.git("status", "--porcelain") == ""


def state(project: Project) -> dict[str, str]:
    """Return name -> status of each experiment of the queue."""
    lines = [line.split() for line in project.dvc("queue", "status").stdout.splitlines()]
    name = lines[0].index("Name")
    return {words[name]: words[-1] for words in lines[1:] if words and words[0] != "Worker"}


def test_two_workers_end_as_one_experiment_alone(project: Project, tmp_path: Path) -> None:
    alone = project.copy(tmp_path / "alone")
    for seed in (1, 2):
        project.dvc("exp", "run", "--queue", "--name", f"seed-{seed}", "-S", f"seed={seed}")
    subprocess.run(
        [*DVC, "queue", "start", "--jobs", "2"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    try:
        assert wait_for_queue(project) == {"seed-1": "Success", "seed-2": "Success"}
    finally:
        project.dvc("queue", "stop", "--kill")
    alone.dvc("exp", "run", "-S", "seed=2")
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/exps/**/seed-2").split()
    assert {path: project.git("show", f"{ref}:{path}") for path in kept(alone)} == kept(alone)
