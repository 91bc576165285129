"""Results shared as docs/scale.md says: a remote, a cache of two users, workers in parallel; real DVC, real users."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from project import Project, TinyRun
from test_experiments import CHANGE
from test_repro import stages_run

pytestmark = pytest.mark.slow

UP_TO_DATE = "Data and pipelines are up to date."
WEIGHTS = "models/assistant/model.safetensors"
DVC = (sys.executable, "-m", "dvc")
TIMEOUT_S = 900  # only a test that fails waits that long


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


def test_a_clone_pulls_what_a_stage_needs_or_all_and_then_nothing_runs(teacher: Project, tmp_path: Path) -> None:
    student = clone(teacher, tmp_path / "student")
    assert stages_run(student.dvc("repro", "--pull", "finetune_classifier").stdout) == []
    assert (student.folder / "models/classifier/model.safetensors").is_file()
    assert not (student.folder / WEIGHTS).exists()
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    student.dvc("remote", "modify", "--local", "class", "url", str(tmp_path / "elsewhere"))
    student.dvc("pull")
    assert student.git("status", "--porcelain") == ""
    assert sha256(student, WEIGHTS) == sha256(teacher, WEIGHTS)
    output = student.run(*student.repro_command).stdout
    assert stages_run(output) == [] and UP_TO_DATE in output
    assert kept(student) == kept(teacher)
    assert student.git("status", "--porcelain") == ""


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


def test_only_a_copied_cache_brings_runs_that_are_not_committed(teacher: Project, tmp_path: Path) -> None:
    """`dvc push --run-cache` pushes that a stage ran, and not what it wrote: the page advises against it."""
    teacher.dvc("exp", "run", "-S", CHANGE)
    teacher.git("checkout", "--quiet", ".")
    teacher.dvc("push", "--run-cache")
    experiment = ("exp", "run", "--pull", "-S", CHANGE)
    student = clone(teacher, tmp_path / "student")
    assert stages_run(student.dvc(*experiment).stdout) == ["finetune_classifier"]
    shutil.copytree(teacher.folder / ".dvc/cache", tmp_path / "results", dirs_exist_ok=True)
    other = clone(teacher, tmp_path / "other")
    assert stages_run(other.dvc(*experiment).stdout) == []


# --- a cache of two users -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """A user of this machine, in the group that shares the cache."""

    uid: int
    project: Project

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run DVC as this user, who may read everything, as Python may be root's, but write only what is his."""
        may_read = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
        become = ("setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--groups", str(GROUP))
        own = self.project.folder.parent
        done = subprocess.run(
            [*become, *may_read, *DVC, *arguments],
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
    assert not weights.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    before = kept(project)
    project.dvc("exp", "run", "-S", CHANGE, "finetune_classifier")
    project.git("checkout", "--quiet", ".")
    project.dvc("checkout")
    assert kept(project) == before
    for path in (cache / "files/md5").glob("??/*"):
        found = hashlib.md5(path.read_bytes()).hexdigest()
        assert path.parent.name + path.name.removesuffix(".dir") == found


def test_what_another_project_may_be_writing_into_a_shared_cache_stays(project: Project, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    entries = {age_s: cache / f"runs/ab/abcd{age_s}/half.tmp" for age_s in (0, 120)}
    for age_s, entry in entries.items():
        entry.parent.mkdir(parents=True)
        entry.write_text("cmd: ")
        os.utime(entry, (time.time() - age_s,) * 2)
    project.dvc("cache", "dir", "--local", str(cache))
    project.run(
        sys.executable, "-c", "import sys; sys.path[:0] = ['src', 'scripts']; import preflight; preflight.main()"
    )
    assert [entry.exists() for entry in entries.values()] == [True, False]


# --- workers ------------------------------------------------------------------------------------------------


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers(project: Project) -> list[psutil.Process]:
    """List the queue's workers of a project, with what has come of them."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        is_worker = "queue-worker" in (process.info["cmdline"] or [])
        if is_worker and Path(process.info["cwd"] or "/").is_relative_to(project.folder):
            found.append(process)
    return found


def start_worker(project: Project, number: int, gpu: str) -> psutil.Process:
    """Start the queue's worker of that number with a GPU of its own, where those before it are active.

    DVC gives a worker a second to say that it is there. On a busy machine that may be too short: DVC starts it anew
    then, and what it has started is killed before it takes an experiment.
    """
    before = workers(project)
    environment = {**project.environment, "CUDA_VISIBLE_DEVICES": gpu, "SCRATCHLM_CHECKPOINT_EVERY_S": "0"}
    while True:
        # Not with pipes: the worker in the background inherits them.
        start = [*DVC, "queue", "start", "--jobs", str(number)]
        subprocess.run(start, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: len(workers(project)) > len(before))
        started = [process for process in workers(project) if process not in before]
        if len(started) == 1:
            return started[0]
        kill(started)


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def stages_with(gpu: str, project: Project) -> list[psutil.Process]:
    """List the running stages of a project's experiments that may use a GPU."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "environ"]):
        is_stage = "scratchlm.stage" in (process.info["cmdline"] or [])
        environment = process.info["environ"] or {}
        is_ours = Path(process.info["cwd"] or "/").is_relative_to(project.folder)
        if is_stage and is_ours and environment.get("CUDA_VISIBLE_DEVICES") == gpu:
            found.append(process)
    return found


def experiments(project: Project) -> dict[str, str]:
    """Return name -> Git reference of each experiment that has ended."""
    references = project.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    return {reference.rpartition("/")[2]: reference for reference in references}


def test_two_workers_have_a_gpu_each_and_one_that_is_killed_loses_no_other_experiment(
    project: Project, tmp_path: Path
) -> None:
    alone = project.copy(tmp_path / "alone")

    def queue(name: str, *changes: str) -> None:
        settings = [word for change in changes for word in ("-S", f"finetune_classifier.{change}")]
        project.dvc("exp", "run", "--queue", "--name", name, *settings, "finetune_classifier")

    queue("first", "learning_rate=0.002")
    long = ("learning_rate=0.003", "epochs=8")
    queue("killed", *long)
    queue("wrong", "learning_rate=-1")
    queue("after", "learning_rate=0.004")
    try:
        start_worker(project, 1, "0")
        wait_until(lambda: bool(stages_with("0", project)))
        (held,) = stages_with("0", project)
        held.suspend()  # so that the second worker takes the second experiment, however slow the machine
        snapshots = project.folder / ".checkpoints/finetune_classifier"
        before = set(snapshots.glob("*/0*.safetensors"))
        second = start_worker(project, 2, "1")
        wait_until(lambda: not before.issuperset(snapshots.glob("*/0*.safetensors")))
        below = [second, *second.children(recursive=True)]
        kill([*below, *stages_with("1", project)])
        queue("again", *long)
        held.resume()
        wait_until(lambda: {"first", "after", "again"} <= experiments(project).keys())
        wait_until(lambda: states(project)["wrong"] == "Failed")
        assert "killed" not in experiments(project)
    finally:
        project.dvc("queue", "stop", "--kill")
        kill(workers(project))
    assert "finetune_classifier.learning_rate" in project.dvc("queue", "logs", "wrong").stdout
    assert "resuming after step" in project.dvc("queue", "logs", "again").stdout
    assert project.git("status", "--porcelain") == ""
    alone.dvc("exp", "run", "-S", "finetune_classifier.learning_rate=0.004", "finetune_classifier")
    after = experiments(project)["after"]
    assert {path: project.git("show", f"{after}:{path}") for path in kept(alone)} == kept(alone)


def states(project: Project) -> dict[str, str]:
    """Return name -> status of each experiment of the queue."""
    lines = [line.split() for line in project.dvc("queue", "status").stdout.splitlines()]
    name = lines[0].index("Name")
    return {words[name]: words[-1] for words in lines[1:] if words and words[0] != "Worker"}
