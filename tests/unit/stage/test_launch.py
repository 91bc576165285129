"""Stages in several processes: real torchrun, real signals, and a small stage whose work is to wait."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from scratchlm.errors import InputError
from scratchlm.stage.launch import read_command, share_threads

REPOSITORY = Path(__file__).parents[3]
TWO = "torchrun --standalone --nproc-per-node 2"
NAME = "generate_responses"
N = 60
# Batches of one, of which the second of each pair takes longer.
WORK = f"""
import os, signal, sys, time
from pathlib import Path
from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json
from scratchlm.stage.batches import compute_batches
from scratchlm.stage.processes import any_of, is_first, n_processes, n_threads, rank
from scratchlm.stage.snapshots import Snapshots

def main(params):
    print("process", rank(), "of", n_processes())
    snapshots = Snapshots(Path("kept"), every_s=0)

    def compute(numbers):
        fail(numbers[0])
        time.sleep(0.04 + 0.04 * (numbers[0] % 2))
        return [f"answer {{number}}" for number in numbers]

    answers = compute_batches(["one"], {N}, "answer", lambda name: ([[n] for n in range({N})], compute), snapshots)
    write_json(Path(f"out-{{rank()}}.json"), answers)
    snapshots.finish()
    print("the end of", rank(), "of", n_processes())

def fail(number):
    pass
"""
WHOLE = {"one": [f"answer {number}" for number in range(N)]}
# Plays DVC: a process above the stage that waits for it, and leaves Ctrl-C to it.
ABOVE = """
import signal, subprocess, sys
stage = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(stage.wait())
"""


@dataclass(frozen=True)
class Project:
    """A folder with the small stage."""

    folder: Path

    def environment(self, launch: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SCRATCHLM_", "DVC"))}
        return {
            **inherited,
            "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{self.folder}",
            "OMP_NUM_THREADS": "2",
            "SCRATCHLM_DEVICE": "cpu",
            "SCRATCHLM_LAUNCH": launch,
        }

    def write(self, failure: str = "pass") -> None:
        """Write the stage; `failure` is what happens before the answer with a `number` is computed."""
        (self.folder / "stages").mkdir(exist_ok=True)
        script = WORK.replace("    pass\n", f"    {failure}\n")
        (self.folder / f"stages/{NAME}.py").write_text(script)
        (self.folder / "params.yaml").write_bytes((REPOSITORY / "profiles/sample.yaml").read_bytes())

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "scratchlm.stage", f"stages/{NAME}.py"]

    def run(self, launch: str = TWO) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command,
            cwd=self.folder,
            env=self.environment(launch),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def results(self) -> dict[str, object]:
        return {path.name: json.loads(path.read_text()) for path in self.folder.glob("out-*.json")}

    def n_snapshots(self) -> int:
        return max((int(path.name.partition("-")[0]) for path in self.folder.glob("kept/[0-9]*")), default=0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write()
    return project


@dataclass(frozen=True)
class Running:
    """The processes of a stage that two processes compute, with one above that plays DVC."""

    dvc: subprocess.Popen[str]
    launcher: psutil.Process
    workers: list[psutil.Process]

    def signal(self, target: str, number: signal.Signals) -> None:
        if target == "group":
            os.killpg(self.dvc.pid, number)  # processes that torchrun starts have groups of their own
        elif target == "dvc":
            self.dvc.send_signal(number)
        elif target == "launcher":
            self.launcher.send_signal(number)
        else:
            self.workers[int(target)].send_signal(number)

    def end(self) -> str:
        """Return what they printed, after checking that none is left."""
        _, alive = psutil.wait_procs([self.launcher, *self.workers], timeout=20)
        for process in alive:
            process.kill()
        assert not alive
        output, _ = self.dvc.communicate(timeout=20)
        return output


def start(project: Project, n_snapshots: int = 5) -> Running:
    """Start the stage with two processes and wait for them, and for its snapshots."""
    dvc = subprocess.Popen(
        [sys.executable, "-c", ABOVE, "dvc", *project.command],
        cwd=project.folder,
        env={**project.environment(TWO), "DVC_STAGE": NAME},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while project.n_snapshots() < n_snapshots:
        assert dvc.poll() is None, dvc.communicate()[0]
        time.sleep(0.01)
    while not (above := psutil.Process(dvc.pid).children()) or len(above[0].children()) < 2:
        assert dvc.poll() is None, dvc.communicate()[0]
        time.sleep(0.1)
    (launcher,) = above
    workers = sorted(launcher.children(), key=lambda process: process.environ()["RANK"])
    return Running(dvc, launcher, workers)


def test_a_stage_without_the_variable_is_one_process(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")  # as schedulers do for jobs of their own
    ended = project.run(launch="")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "process 0 of 1\nthe end of 0 of 1\n", "")
    assert project.results() == {"out-0.json": WHOLE}


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_the_processes_share_the_work_and_the_first_alone_talks_and_writes(n_processes: int, project: Project) -> None:
    ended = project.run(f"torchrun --standalone --nproc-per-node={n_processes}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"process 0 of {n_processes}\nthe end of 0 of 1\n"
    assert project.results() == {"out-0.json": WHOLE}
    assert (project.folder / "kept/done").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "target"),
    [*((signal.SIGTERM, target) for target in ("0", "1", "launcher", "dvc", "group")), (signal.SIGINT, "group")],
)
def test_all_stop_after_the_same_step_whoever_is_asked(number: signal.Signals, target: str, project: Project) -> None:
    running = start(project)
    running.signal(target, number)
    output = running.end()
    position = rf"after (\d+) of {N} answers"
    said = re.search(rf"^{NAME}: interrupted {position}; run `make repro` to go on from there$", output, re.M)
    assert said and output.splitlines() == ["process 0 of 2", said[0]], output
    assert int(said[1]) % 2 == 0
    resumed = project.run(launch=TWO if number == signal.SIGTERM else "")
    assert f"resuming after {said[1]} of {N} answers\n" in resumed.stdout
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert project.results() == {"out-0.json": WHOLE}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["0", "1", "launcher", "dvc", "group"])
def test_whoever_is_killed_no_process_is_left_and_no_work_beyond_the_last_snapshot_is_lost(
    target: str, project: Project
) -> None:
    running = start(project)
    reached = project.n_snapshots()
    running.signal(target, signal.SIGKILL)
    output = running.end()
    if target in "01":
        assert output.splitlines() == [
            "process 0 of 2",
            f"{NAME}: error: process {target} was ended by SIGKILL, which the system sends if memory is short; run "
            "`make repro` to go on from the last snapshot",
        ]
    left = list((project.folder / ".checkpoints/launches").iterdir())
    assert len(left) == (target in ("launcher", "group"))
    resumed = project.run(launch="" if target == "1" else TWO)
    assert not list((project.folder / ".checkpoints/launches").iterdir())
    assert (resumed.returncode, resumed.stderr) == (0, "")
    (n_done,) = re.findall(rf"^resuming after (\d+) of {N} answers$", resumed.stdout, re.M)
    assert int(n_done) >= 2 * (reached - 1)
    assert project.results() == {"out-0.json": WHOLE}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "times", "work", "said"),
    [
        (signal.SIGTERM, 3, "time.sleep(4)", rf" after (\d+) of {N} answers; run `make repro` to go on from there"),
        (signal.SIGINT, 2, "time.sleep(100)", "; run `make repro` to go on"),
        (
            signal.SIGINT,
            3,
            "signal.pthread_sigmask(signal.SIG_BLOCK, {2, 15}); time.sleep(100)",
            "; run `make repro` to go on",
        ),
    ],
    ids=["SIGTERM", "Ctrl-C", "Ctrl-C-unheard"],
)
def test_further_sigterms_change_nothing_a_second_ctrl_c_does_not_wait_and_a_third_kills(
    number: signal.Signals, times: int, work: str, said: str, project: Project
) -> None:
    project.write(f"if number > 10: {work}")
    running = start(project, n_snapshots=6)  # with what comes before number 10
    time.sleep(0.5)
    for _ in range(times):
        running.signal("group", number)
        time.sleep(1)  # on a busy machine, two at once may become one
    output = running.end()  # does not wait for 100 s
    assert re.fullmatch(rf"process 0 of 2\n{NAME}: interrupted{said}\n", output)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "target"), [(signal.SIGTERM, "launcher"), (signal.SIGINT, "group")])
def test_a_stop_before_all_processes_have_met_does_not_wait_for_them(
    number: signal.Signals, target: str, project: Project
) -> None:
    late = "import os, time\nif os.environ.get('RANK') == '1': time.sleep(100)\n"
    (project.folder / "sitecustomize.py").write_text(late)
    running = start(project, n_snapshots=0)
    while not any(connection.status == psutil.CONN_ESTABLISHED for connection in running.workers[0].net_connections()):
        time.sleep(0.1)
    time.sleep(1)
    running.signal(target, number)
    assert running.end() == f"{NAME}: interrupted; run `make repro` to go on\n"


SNAPSHOTS = """
import torch
from pathlib import Path
from scratchlm.stage.processes import any_of, is_first, leave, rank
from scratchlm.stage.snapshots import Snapshots

def main(params):
    snapshots = Snapshots(Path("kept"))
    before = snapshots.load()
    once = snapshots.once("drawn", lambda: [rank(), "drawn"])
    if is_first():
        snapshots.save({"weights": torch.full((3,), 7.0)}, {"step": 5})
    any_of(False)
    assert snapshots.latest is not None
    # Only the first process has written; both read the same file.
    tensors, notes = snapshots.load()
    assert (tensors["weights"].tolist(), notes) == ([7.0] * 3, {"step": 5})
    assert once == [0, "drawn"] and snapshots.once("drawn", lambda: "computed again") == once
    assert snapshots.are_kept == is_first()
    assert before is None or before[1] == notes
    leave()
    print("well", before is None)
"""


@pytest.mark.slow
def test_all_read_the_snapshot_that_the_first_has_written_and_get_what_it_computes_once(project: Project) -> None:
    (project.folder / f"stages/{NAME}.py").write_text(SNAPSHOTS)
    for is_new in (True, False):
        ended = project.run()
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"well {is_new}\n", "")


@pytest.mark.slow
def test_no_other_machine_can_connect_to_the_processes(project: Project) -> None:
    running = start(project)
    listening = [
        connection.laddr.ip
        for process in (running.launcher, *running.workers)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    running.signal("launcher", signal.SIGTERM)
    running.end()
    assert listening and set(listening) == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("raise InputError('no answers')", f"{NAME}: error: no answers\n"),
        ("if rank() == 1: raise InputError('none here')", f"{NAME}: error: none here\n"),
        ("if number > 20 and rank() == 0: raise InputError('no more')", f"{NAME}: error: no more\n"),
        ("if rank() == 0: open('/dev/full', 'w').write('x' * 100_000)", "No space left on device: make room"),
    ],
)
def test_an_error_comes_once_and_ends_all(failure: str, said: str, project: Project) -> None:
    project.write(failure)
    ended = project.run()
    assert (ended.returncode, ended.stdout) == (1, "process 0 of 2\n")
    assert said in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["True", "rank() == 1"])
def test_a_bug_keeps_its_traceback_once(failing: str, project: Project) -> None:
    project.write(f"if {failing}: raise ValueError('ours')")
    ended = project.run()
    assert ended.returncode == 1
    assert ended.stderr.count("Traceback") == 1 and ended.stderr.endswith("\nValueError: ours\n")


@pytest.mark.slow
def test_a_stage_that_cannot_be_shared_is_one_process(project: Project) -> None:
    other = project.folder / "stages/tokenize_corpus.py"
    other.write_text("def main(params):\n    print('done')\n")
    command = [sys.executable, "-m", "scratchlm.stage", str(other)]
    ended = subprocess.run(
        command, cwd=project.folder, env=project.environment(TWO), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("mpirun -n 2", "'mpirun' cannot start a stage, only torchrun can"),
        ("python -m torch.distributed.run", "'python' cannot start a stage, only torchrun can"),
        ("torchrun --standalone --nproc-per-node 0", "0 processes are too few"),
        ("torchrun --standalone --nproc-per-node -2", "-2 processes are too few"),
        ("torchrun --standalone --nproc-per-node two", "Unsupported nproc_per_node value: two"),
        ("torchrun --nnodes many", "invalid literal for int() with base 10: 'many'"),
        ("torchrun --processes 2", "unrecognized arguments: --processes"),
        ("torchrun --nproc-per-node", "expected one argument"),
        ("torchrun --standalone train.py", "'train.py' is too much, as the script is the stage's"),
        ("torchrun --no-python", "--no-python is too much, as it may say where the processes run, but not how"),
        ("torchrun --log-dir logs", "--log-dir is too much"),
        ("torchrun --max-restarts 1", "--max-restarts is too much"),
        ("torchrun -r 3", "--redirects is too much"),
        ("torchrun --tee 0:1", "--tee is too much"),
        ("torchrun --local-ranks-filter 1", "--local-ranks-filter is too much"),
        ("torchrun --duplicate-stdout-filters x", "--duplicate-stdout-filters is too much"),
        ("torchrun --logs-specs mine", "--logs-specs is too much"),
        ("torchrun --event-log-handler mine", "--event-log-handler is too much"),
        ("torchrun --start-method fork", "--start-method is too much"),
        ("torchrun --signals-to-handle SIGHUP", "--signals-to-handle is too much"),
        ("torchrun --standalone --nnodes 2", "--standalone is for one machine, and --nnodes 2 for several"),
        ("torchrun --shutdown-timeout 10m", "invalid int value: '10m'"),
        ("torchrun --help", "it asks for help"),
        ("torchrun 'x", "no closing quotation"),
    ],
)
def test_a_command_that_cannot_be_used_is_one_clear_error(command: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        read_command(command, Path("stages/pretrain.py"))
    message = str(raised.value)
    assert message.startswith(f"SCRATCHLM_LAUNCH is {command!r}: ") and "set it as in SCRATCHLM_LAUNCH=" in message
    assert problem in message and "\n" not in message


def test_what_a_variable_of_torchrun_sets_is_refused_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_TEE", "3")
    with pytest.raises(InputError, match="--tee is too much"):
        read_command(TWO, Path("stages/pretrain.py"))


def test_the_time_to_end_is_ten_minutes_or_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
    monkeypatch.setenv(name, "10m")
    with pytest.raises(InputError, match=f"{name} is '10m', wanted a whole number from 1 to 86400"):
        read_command(TWO, Path("stages/pretrain.py"))
    monkeypatch.setenv(name, "20")
    read_command(TWO, Path("stages/pretrain.py"))
    assert os.environ[name] == "20"
    monkeypatch.delenv(name)
    read_command(TWO, Path("stages/pretrain.py"))
    assert os.environ[name] == "600"


def test_the_processes_of_a_machine_share_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for name in ("OMP_NUM_THREADS", "SCRATCHLM_THREADS"):
        monkeypatch.setenv(name, "1")
    for n_local, each in ((1, 8), (2, 4), (3, 2), (9, 1)):
        share_threads(n_local)
        assert (os.environ["OMP_NUM_THREADS"], os.environ["SCRATCHLM_THREADS"]) == (str(each), "8")


def test_more_processes_than_gpus_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("SCRATCHLM_DEVICE", raising=False)
    assert read_command(TWO, Path("stages/pretrain.py")).nproc_per_node == "2"
    with pytest.raises(InputError, match="3 processes need a GPU each, and here are 2; set it"):
        read_command("torchrun --nproc-per-node 3", Path("stages/pretrain.py"))
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    read_command("torchrun --nproc-per-node 3", Path("stages/pretrain.py"))
