"""Sweeps as a user runs them: real Git, real DVC with its queue, and two quick stages in place of the pipeline.

The last test has the real pipeline.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from dvc_deps import ROOT
from project import Project

pytestmark = pytest.mark.slow

TIMEOUT_S = 120
PREPARE = """
from pathlib import Path
from ruamel.yaml import YAML

fraction = YAML(typ="safe").load(Path("params.yaml"))["sms"]["train_fraction"]
Path("data/sms").mkdir(parents=True)
rows = [f"{'spam' if i % 2 else 'ham'},message {i} of {fraction}" for i in range(20)]
Path("data/sms/test.csv").write_text("\\n".join(["label,text", *rows]) + "\\n")
"""
# The classifier is wrong for the first `epochs` messages, takes `eval_every` seconds, and fails with weight_decay 9.
TRAIN = """
import json, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
own = params["finetune_classifier"]
print("training")
time.sleep(own["eval_every"])
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
- name: other-test
  label: another test set
  overrides: {sms.train_fraction: 0.6}
- name: gpt2
  label: GPT-2
  overrides: {finetune_classifier.base: 124M}
"""
SEEDS = """
description: Two seeds
metrics:
  test: finetune_classifier.test_accuracy
compared: test
baseline: one-epoch
seeds: [120, 122]
experiments:
- name: one-epoch
  label: one epoch
- name: three-epochs
  label: three epochs
  overrides: {finetune_classifier.epochs: 3}
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
  overrides: {finetune_classifier.eval_every: 8, finetune_classifier.epochs: 2}
- name: last
  label: last
  overrides: {finetune_classifier.epochs: 3}
"""


def environment(project: Project) -> dict[str, str]:
    return {**project.environment, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}


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


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with two quick stages, three sets, and the results of its first run."""
    folder = tmp_path / "a folder with spaces"
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
    yield project
    for process in processes_in(project, "queue-worker"):
        process.kill()


def test_a_sweep_runs_what_it_can_and_again_only_what_is_missing(project: Project) -> None:
    code, lines, error = sweep(project, "mine")
    assert (code, without_times(lines)) == (
        1,
        [
            "mine: 5 experiments: 4 to run, 0 finished before, 1 not possible here",
            "  mine-one-epoch: done, from DVC's cache",
            "  mine-heavy: failed",
            "  mine-four-epochs: done",
            "  mine-other-test: done",
            "`scratchlm table mine` shows the results",
        ],
    )
    gpt2 = "finetune_classifier.base: got 124M, allowed: one of weights.bases (pretrained)"
    assert error.splitlines() == [
        "2 of 5 experiments failed (`dvc queue logs NAME` shows all that one printed):",
        f"  - mine-gpt2: {gpt2}",
        "  - mine-heavy: finetune_classifier: error: the weights are too heavy",
    ]
    assert project.git("status", "--porcelain") == ""
    seconds = notes(project, "mine")["mine-four-epochs"]["seconds"]
    assert isinstance(seconds, float) and 0.5 < seconds < 30

    shown = [" ".join(line.split()) for line in table(project, "mine").splitlines()]
    other_seconds = notes(project, "mine")["mine-other-test"]["seconds"]
    assert shown == [
        "mine: What is tested here",
        "experiment train test test - baseline published s",
        "one-epoch 100.00 95.00 baseline 96.50 -",
        "heavy - - - - -",
        f"four-epochs 100.00 80.00 -15.00 (-30.0, +0.0) - {seconds:.0f}",
        f"other-test 100.00 95.00 +0.00 - {other_seconds:.0f}",
        "gpt2 - - - - -",
        "heavy: finetune_classifier: error: the weights are too heavy",
        "other-test: no interval: other test messages than the baseline's",
        "gpt2: finetune_classifier.base: got 124M, allowed: one of weights.bases",
        "(pretrained)",
    ]
    rows = list(csv.DictReader(io.StringIO(table(project, "mine", "--format", "csv"))))
    assert [row["test"] for row in rows] == ["95", "", "80", "95", ""]
    picture = project.folder / "logs/mine.png"
    markdown = table(project, "mine", "--format", "markdown", "--plot", str(picture))
    assert "| four epochs | `finetune_classifier.epochs: 4` | - | 100.00 | 80.00 | -15.00 (" in markdown
    assert picture.read_bytes().startswith(b"\x89PNG")

    # Mended, and a commit later.
    mended = MINE.replace("weight_decay: 9.0", "weight_decay: 0.3").rpartition("- name: gpt2")[0]
    (project.folder / "experiments/mine.yaml").write_text(mended, encoding="utf-8")
    project.commit("Lighter")
    code, lines, error = sweep(project, "mine")
    assert (code, error, without_times(lines)[:2]) == (
        0,
        "",
        ["mine: 4 experiments: 1 to run, 3 finished before, 0 not possible here", "  mine-heavy: done"],
    )
    code, lines, _ = sweep(project, "mine")
    assert (code, lines[0]) == (0, "mine: 4 experiments: 0 to run, 4 finished before, 0 not possible here")


def test_other_params_or_code_make_results_outdated_and_uncommitted_changes_count(project: Project) -> None:
    (project.folder / "experiments/mine.yaml").write_text(MINE.partition("- name: heavy")[0], encoding="utf-8")
    assert sweep(project, "mine")[0] == 0
    project.set_params({"finetune_classifier.epochs": 2})
    assert "one-epoch: params, code or inputs have changed since it ran" in table(project, "mine")
    code, lines, _ = sweep(project, "mine")
    assert (code, lines[0]) == (0, "mine: 1 experiments: 1 to run, 0 finished before, 0 not possible here")
    assert lines[1] == "Uncommitted changes go into the experiments: experiments/mine.yaml, params.yaml"
    assert " 90.00 " in table(project, "mine")
    assert "epochs: 2" in project.read("params.yaml")
    with (project.folder / "train.py").open("a") as program:
        program.write("# changed\n")
    assert "one-epoch: params, code or inputs have changed" in table(project, "mine")


def test_several_seeds_become_mean_and_standard_deviation(project: Project) -> None:
    assert sweep(project, "two")[0] == 0
    one, three = (line.split() for line in table(project, "two").splitlines()[2:])
    # Wrong are 1 and 3, then 3 and 5 of 20 messages.
    assert one[:5] == ["one-epoch", "90.00", "±", "7.07", "baseline"]
    assert three[:7] == ["three-epochs", "80.00", "±", "7.07", "-10.00", "±", "0.00"]


def running(project: Project) -> bool:
    return "training" in "".join(
        path.read_text() for path in (project.folder / ".dvc/tmp/exps/run").glob("*/*.out")
    ) and bool(processes_in(project, "train.py"))


def test_an_interrupted_sweep_goes_on_and_there_is_one_at_a_time(project: Project) -> None:
    started = start_sweep(project, "long")
    wait_for(lambda: "long-quick: done" in (project.folder.parent / "started.out").read_text())
    wait_for(lambda: running(project))
    code, _, error = sweep(project, "mine")
    assert (code, error.partition(":")[0]) == (1, "another sweep is running in this project")
    started.send_signal(signal.SIGINT)
    assert started.wait(TIMEOUT_S) == 1
    said = (project.folder.parent / "started.out").read_text()
    assert "long-long: interrupted" in said
    assert said.endswith("sweep: error: interrupted: run `make sweep E=long` to go on from there\n")
    assert processes_in(project, "train.py") == []
    assert notes(project, "long")["long-long"]["problem"] == "interrupted"
    assert "long: interrupted" in table(project, "long")
    assert "Queued" not in project.dvc("queue", "status").stdout
    assert project.git("status", "--porcelain") == ""

    code, lines, _ = sweep(project, "long")
    assert (code, without_times(lines)) == (
        0,
        [
            "long: 3 experiments: 2 to run, 1 finished before, 0 not possible here",
            "  long-long: done",
            "  long-last: done",
            "`scratchlm table long` shows the results",
        ],
    )


def test_a_killed_sweep_is_taken_over(project: Project) -> None:
    started = start_sweep(project, "long")
    wait_for(lambda: "long-quick: done" in (project.folder.parent / "started.out").read_text())
    wait_for(lambda: running(project))
    started.kill()
    started.wait()
    code, lines, _ = sweep(project, "long")
    assert code == 0
    assert lines[1] == "  long-long: done, not timed"


def test_a_killed_worker_is_replaced(project: Project) -> None:
    started = start_sweep(project, "long")
    wait_for(lambda: "long-quick: done" in (project.folder.parent / "started.out").read_text())
    wait_for(lambda: running(project))
    for process in processes_in(project, "queue-worker"):
        os.kill(process.pid, signal.SIGKILL)
    assert started.wait(TIMEOUT_S) == 1
    said = (project.folder.parent / "started.out").read_text()
    assert "long-long: failed" in said and "long-last: done" in said
    assert sweep(project, "long")[0] == 0


def test_the_real_pipeline_is_swept(tiny_run, tmp_path: Path) -> None:
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
- name: impossible
  label: from a missing file
  overrides: {instructions.source: inputs/instructions/missing.json}
""",
        encoding="utf-8",
    )
    project.commit("A set")
    code, lines, error = sweep(project, "strict")
    assert (code, lines[1].partition(",")[0], lines[3]) == (1, "  strict-strict: done", "  strict-impossible: failed")
    assert "prepare_instructions: error: inputs/instructions/missing.json does not exist" in error
    assert "lenient" in (shown := table(project, "strict"))
    assert "+0.00 (+0.0, +0.0)" in shown
