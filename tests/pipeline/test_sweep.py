"""Sweeps as a user runs them: real Git, real DVC with its queue, and two quick stages in place of the pipeline.

The last test has the real pipeline.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from dvc_deps import ROOT
from fabricated import Page
from project import Project, TinyRun

pytestmark = pytest.mark.slow

TIMEOUT_S = 300
PREPARE = """
from pathlib import Path
from ruamel.yaml import YAML

fraction = YAML(typ="safe").load(Path("params.yaml"))["sms"]["train_fraction"]
Path("data/sms").mkdir(parents=True)
rows = [f"{'spam' if i % 2 else 'ham'},message {i} of {fraction}" for i in range(20)]
Path("data/sms/test.csv").write_text("\\n".join(["label,text", *rows]) + "\\n")
"""
# The classifier is wrong for the first `epochs` messages, waits with eval_every 9 for the file that the test names,
# takes a second, and fails with weight_decay 9.
TRAIN = """
import json, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
own = params["finetune_classifier"]
print("training")
deadline = time.monotonic() + 600
while own["eval_every"] == 9 and not Path(os.environ["MAY_END"]).exists():
    if time.monotonic() > deadline:
        sys.exit("finetune_classifier: error: it was never told to end")
    time.sleep(0.1)
time.sleep(1)
if own["weight_decay"] == 9:
    sys.exit("finetune_classifier: error: the weights are too heavy")
labels = [line.split(",")[0] for line in Path("data/sms/test.csv").read_text().splitlines()[1:]]
wrong = own["epochs"] + params["seed"] % 10
other = {"ham": "spam", "spam": "ham"}
found = [other[label] if i < wrong else label for i, label in enumerate(labels)]
rows = [f"{label},{predicted}" for label, predicted in zip(labels, found)]
Path("data/plots").mkdir(parents=True, exist_ok=True)
Path("data/plots/classifier_confusion.csv").write_text("\\n".join(["actual,predicted", *rows]) + "\\n")
Path("metrics").mkdir(exist_ok=True)
accuracy = 100 * sum(a == b for a, b in zip(labels, found)) / len(labels)
Path("metrics/finetune_classifier.json").write_text(json.dumps({"train_accuracy": 100, "test_accuracy": accuracy}))
"""
DVC_YAML = """
stages:
  prepare_sms:
    cmd: python prepare.py
    deps: [prepare.py]
    params: [sms]
    outs: [data/sms]
  finetune_classifier:
    cmd: python train.py
    deps: [train.py, data/sms]
    params: [finetune_classifier, seed]
    outs: [data/plots/classifier_confusion.csv]
    metrics: [metrics/finetune_classifier.json: {cache: false}]
"""
SETTINGS = {
    "seed": 120,
    "finetune_classifier.epochs": 1,
    "finetune_classifier.eval_every": 1,
    "finetune_classifier.weight_decay": 0.1,
}
MINE = """
description: What is tested here
metrics:
  train: finetune_classifier.train_accuracy
  test: finetune_classifier.test_accuracy
compared: test
baseline: one-epoch
experiments:
- name: one-epoch
  label: one epoch
  published: {test: 96.5}
- name: heavy
  label: too heavy
  overrides: {finetune_classifier.weight_decay: 9.0}
- name: four-epochs
  label: four epochs
  overrides: {finetune_classifier.epochs: 4}
- name: gpt2
  label: GPT-2
  overrides: {finetune_classifier.base: 124M}
"""
SEEDS = """
description: Two seeds
metrics:
  test: finetune_classifier.test_accuracy
compared: test
seeds: [120, 122]
experiments:
- name: default
  label: params.yaml
"""
LONG = """
description: One that takes long
metrics:
  test: finetune_classifier.test_accuracy
compared: test
experiments:
- name: quick
  label: quick
- name: long
  label: long
  overrides: {finetune_classifier.eval_every: 9, finetune_classifier.epochs: 2}
"""


def environment(project: Project) -> dict[str, str]:
    added = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", "MAY_END": str(may_end(project))}
    return project.environment | added


def may_end(project: Project) -> Path:
    """Return the path of the file that lets the long experiment end."""
    return project.folder.parent / "may_end"


def sweep_command(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/sweep.py"), name]


def sweep(project: Project, name: str) -> tuple[int, list[str], str]:
    """Run a sweep; return its exit code, its lines and its error."""
    with (project.folder.parent / "sweep.out").open("w+", encoding="utf-8") as output:
        # Not with pipes: the worker in the background inherits them, and reading them would wait for it.
        done = subprocess.run(
            sweep_command(name),
            cwd=project.folder,
            env=environment(project),
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
        output.seek(0)
        shown, _, error = output.read().partition("sweep: error: ")
    return done.returncode, shown.splitlines(), error


def start_sweep(project: Project, name: str) -> subprocess.Popen[str]:
    output = (project.folder.parent / "started.out").open("w", encoding="utf-8")
    return subprocess.Popen(
        sweep_command(name), cwd=project.folder, env=environment(project), stdout=output, stderr=output, text=True
    )


def table(project: Project, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", "table", *words],
        cwd=project.folder,
        env=environment(project),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def report(project: Project) -> Page:
    command = [sys.executable, "-m", "scratchlm.cli", "report", "--out", "logs/report.html"]
    subprocess.run(command, cwd=project.folder, env=environment(project), check=True)
    return Page(project.read("logs/report.html"))


def without_times(lines: list[str]) -> list[str]:
    return [line.rpartition(",")[0] if line.endswith(" s") else line for line in lines]


def notes(project: Project, name: str) -> dict[str, dict[str, object]]:
    return json.loads(project.read(f"logs/sweeps/{name}.json"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def processes_in(project: Project, word: str) -> list[psutil.Process]:
    """List the processes with a word in their command that work in the project's folder or below."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        cwd = process.info["cwd"]
        if cwd and Path(cwd).is_relative_to(project.folder) and word in (process.info["cmdline"] or []):
            found.append(process)
    return found


def kill_workers(project: Project) -> None:
    for process in processes_in(project, "queue-worker"):
        process.kill()
        process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two quick stages, three sets, and the results of its first run."""
    folder = tmp_path_factory.mktemp("sweep") / "a folder with spaces"
    (folder / "experiments").mkdir(parents=True)
    files = {"prepare.py": PREPARE, "train.py": TRAIN, "dvc.yaml": DVC_YAML, ".gitignore": "/data/\n/logs/\n"}
    sets = {f"experiments/{name}.yaml": text for name, text in (("mine", MINE), ("two", SEEDS), ("long", LONG))}
    for name, text in (files | sets).items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "profiles/sample.yaml", folder / "params.yaml")
    project = Project(folder)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@localhost")
    project.dvc("init", "--quiet")
    project.set_params(SETTINGS)
    project.dvc("repro")
    project.commit("Results")
    return project


@pytest.fixture
def project(first_run: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of that project; what works in it ends with the test."""
    project = first_run.copy(tmp_path / "a folder with spaces")
    yield project
    kill_workers(project)
    for process in processes_in(project, "train.py"):
        process.kill()


def test_a_sweep_runs_what_it_can_and_again_only_what_is_missing(project: Project) -> None:
    started_s = time.monotonic()
    code, lines, error = sweep(project, "mine")
    took_s = time.monotonic() - started_s
    assert (code, without_times(lines)) == (
        1,
        [
            "mine: 4 experiments: 3 to run, 0 finished before, 1 not possible here",
            "  mine-one-epoch: done, from DVC's cache",
            "  mine-heavy: failed",
            "  mine-four-epochs: done",
            "`scratchlm table mine` shows the results",
        ],
    )
    assert error.splitlines() == [
        "2 of 4 experiments failed (`dvc queue logs NAME` shows all that one printed):",
        "  - mine-gpt2: finetune_classifier.base: got 124M, allowed: one of weights.bases (pretrained)",
        "  - mine-heavy: finetune_classifier: error: the weights are too heavy",
    ]
    assert project.git("status", "--porcelain") == ""
    seconds = notes(project, "mine")["mine-four-epochs"]["seconds"]
    assert isinstance(seconds, float) and 0 < seconds < took_s

    picture = project.folder / "logs/mine.png"
    shown = [" ".join(line.split()) for line in table(project, "mine", "--plot", str(picture)).splitlines()]
    assert shown == [
        "mine: What is tested here",
        "experiment train test test - baseline published s",
        "one-epoch 100.00 95.00 baseline 96.50 -",
        "heavy - - - - -",
        f"four-epochs 100.00 80.00 -15.00 (-30.0, +0.0) - {seconds:.0f}",
        "gpt2 - - - - -",
        "heavy: finetune_classifier: error: the weights are too heavy",
        "gpt2: finetune_classifier.base: got 124M, allowed: one of weights.bases",
        "(pretrained)",
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    page = report(project)
    assert "mine: What is tested here" in page.texts
    assert page.row("one epoch") == ["100.00", "95.00", "baseline", "96.50", ""]
    assert page.row("four epochs") == ["100.00", "80.00", "-15.00 (-30.0, +0.0)", "-", ""]
    assert page.row("too heavy")[-1] == "finetune_classifier: error: the weights are too heavy"

    # Mended, and a commit later.
    mended = MINE.replace("weight_decay: 9.0", "weight_decay: 0.3").rpartition("- name: gpt2")[0]
    (project.folder / "experiments/mine.yaml").write_text(mended, encoding="utf-8")
    project.commit("Lighter")
    code, lines, error = sweep(project, "mine")
    assert (code, error, without_times(lines)[:2]) == (
        0,
        "",
        ["mine: 3 experiments: 1 to run, 2 finished before, 0 not possible here", "  mine-heavy: done"],
    )
    rows = list(csv.DictReader(io.StringIO(table(project, "mine", "--format", "csv"))))
    assert [row["test"] for row in rows] == ["95", "95", "80"]

    with (project.folder / "train.py").open("a") as program:
        program.write("# changed\n")
    assert "\none-epoch: params, code or inputs have changed since it ran\n" in table(project, "mine")


def test_seeds_become_mean_and_deviation_and_uncommitted_changes_count(project: Project) -> None:
    project.set_params({"finetune_classifier.epochs": 3})
    code, lines, _ = sweep(project, "two")
    assert (code, lines[1]) == (0, "Uncommitted changes go into the experiments: params.yaml")
    # Wrong are 3 and 5 of 20 messages.
    assert table(project, "two").splitlines()[2].split()[:4] == ["default", "80.00", "±", "7.07"]
    assert "epochs: 3" in project.read("params.yaml")
    project.git("checkout", "params.yaml")
    assert "default: params, code or inputs have changed since it ran" in table(project, "two")


def start_until_long_runs(project: Project) -> tuple[subprocess.Popen[str], Path]:
    """Start a sweep, and return it with the file of its output once its second experiment runs and waits."""
    started = start_sweep(project, "long")
    output = project.folder.parent / "started.out"
    wait_for(lambda: "long-quick: done" in output.read_text() or "1 finished" in output.read_text())
    wait_for(lambda: bool(processes_in(project, "train.py")))
    return started, output


def test_a_sweep_that_ends_early_goes_on_and_there_is_one_at_a_time(project: Project) -> None:
    started, output = start_until_long_runs(project)
    code, _, error = sweep(project, "mine")
    assert (code, error.partition(":")[0]) == (1, "another sweep is running in this project")
    started.send_signal(signal.SIGINT)
    assert started.wait(TIMEOUT_S) == 1
    said = output.read_text()
    assert "long-quick: done" in said and "long-long: interrupted" in said
    assert said.endswith("sweep: error: interrupted: run `make sweep E=long` to go on from there\n")
    assert processes_in(project, "train.py") == []
    assert notes(project, "long")["long-long"]["problem"] == "interrupted"
    assert "long: interrupted" in table(project, "long")
    assert project.git("status", "--porcelain") == ""

    kill_workers(project)  # one that ends for want of work can take the next experiment with it

    # Killed, it leaves the worker and the experiment behind; the next one takes them over.
    started, _ = start_until_long_runs(project)
    started.kill()
    started.wait()
    next_one = start_sweep(project, "long")
    announced = "long: 2 experiments: 1 to run, 1 finished before, 0 not possible here"
    wait_for(lambda: announced in output.read_text())
    may_end(project).touch()
    assert next_one.wait(TIMEOUT_S) == 0
    assert output.read_text().splitlines() == [
        announced,
        "  long-long: done, not timed",
        "`scratchlm table long` shows the results",
    ]


def test_a_killed_worker_fails_its_experiment_and_is_replaced(project: Project) -> None:
    started, output = start_until_long_runs(project)
    kill_workers(project)
    assert started.wait(TIMEOUT_S) == 1
    assert "long-long: failed" in output.read_text()
    assert processes_in(project, "train.py") == []
    may_end(project).touch()
    code, lines, _ = sweep(project, "long")
    assert (code, without_times(lines)[1]) == (0, "  long-long: done")


def test_the_real_pipeline_is_swept(tiny_run: TinyRun, tmp_path: Path) -> None:
    project = tiny_run.project.copy(tmp_path / "a folder with spaces")
    (project.folder / "experiments/strict.yaml").write_text(
        """
description: How many answers must have a score
metrics:
  score: judge_responses.assistant.mean
compared: score
baseline: strict
experiments:
- name: strict
  label: all
  overrides: {judge.min_coverage: 1.0}
- name: lenient
  label: half
  overrides: {judge.min_coverage: 0.5}
""",
        encoding="utf-8",
    )
    project.commit("A set")
    code, lines, _ = sweep(project, "strict")
    assert (code, [line.partition(",")[0] for line in lines[1:3]]) == (
        0,
        ["  strict-strict: done", "  strict-lenient: done"],
    )
    assert "+0.00 (+0.0, +0.0)" in table(project, "strict")
