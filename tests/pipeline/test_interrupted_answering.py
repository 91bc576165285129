"""Models that answer or choose, killed or stopped, end as if they had not been: real dvc, real signals."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from project import Project, TinyRun
from safetensors.torch import load_file

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.sample.questions import questions
from scratchlm.stage.snapshots import NOTES

pytestmark = pytest.mark.slow

KILLS = 8


@dataclass(frozen=True)
class Stage:
    """A stage that works in batches: enough of them to be hit by a signal, but only for seconds."""

    name: str
    what: str  # it counts
    changes: dict[str, object]
    data: str

    @property
    def command(self) -> tuple[str, ...]:
        return sys.executable, "-m", "dvc", "repro", self.name

    def results(self, project: Project) -> dict[str, str]:
        return {path: project.read(path) for path in ("dvc.lock", self.data, f"metrics/{self.name}.json")}

    def snapshots(self, project: Project) -> list[Path]:
        """Return its snapshots, oldest first; the numbers in their names count on from process to process."""
        return sorted((project.folder / ".checkpoints" / self.name).glob("*/[0-9]*.safetensors"))

    def wait(self, project: Project, process: subprocess.Popen[str], n: int) -> None:
        """Wait until this process has written `n` snapshots."""
        wanted = number_of_last(self.snapshots(project)) + n
        while number_of_last(self.snapshots(project)) < wanted:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)


GENERATION = Stage(
    "generate_responses", "answers", {"generate.batch_size": 1, "generate.max_new_tokens": 100}, "data/responses.json"
)
MANY = "inputs/benchmarks/many.jsonl"
BENCHMARK = Stage("benchmark_models", "choices", {"benchmark.source": MANY}, "data/benchmark.json")


def number_of_last(snapshots: list[Path]) -> int:
    return int(snapshots[-1].name.partition("-")[0]) if snapshots else 0


def n_done(snapshot: Path) -> int:
    """Count the answers or choices that a snapshot holds."""
    notes = json.loads(load_file(snapshot)[NOTES].numpy().tobytes())
    return sum(map(len, notes.values()))


@pytest.fixture(scope="module", params=[GENERATION, BENCHMARK], ids=lambda stage: stage.name)
def longer(
    request: pytest.FixtureRequest, tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Stage, Project, dict[str, str]]:
    """A stage, a project in which it is to run anew, and what an uninterrupted run of it writes."""
    stage: Stage = request.param
    project = tiny_run.project.copy(tmp_path_factory.mktemp("longer") / "project")
    project.set_params(stage.changes)
    (project.folder / MANY).write_text("".join(json.dumps(asked) + "\n" for asked in questions() * 10))
    uninterrupted = project.copy(tmp_path_factory.mktemp("whole") / "project")
    uninterrupted.dvc("repro", stage.name)
    return stage, project, stage.results(uninterrupted)


def test_killed_again_and_again_it_goes_on_and_ends_with_the_same_bytes(
    longer: tuple[Stage, Project, dict[str, str]], tmp_path: Path
) -> None:
    stage, project, expected = longer[0], longer[1].copy(tmp_path / "project"), longer[2]
    chance = random.Random(7)
    reached = []
    for _ in range(KILLS):
        process = project.start(*stage.command)
        stage.wait(project, process, 2)
        time.sleep(chance.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        reached.append(n_done(stage.snapshots(project)[-1]))
    assert reached == sorted(set(reached))  # each process came farther than the one before
    assert f"resuming after {reached[-1]} of " in project.dvc("repro", stage.name).stdout
    assert stage.results(project) == expected
    assert all((kept / "done").exists() for kept in (project.folder / ".checkpoints").glob("*/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_request_it_keeps_what_is_done_and_says_how_to_go_on(
    number: signal.Signals, longer: tuple[Stage, Project, dict[str, str]], tmp_path: Path
) -> None:
    stage, project, expected = longer[0], longer[1].copy(tmp_path / "project"), longer[2]
    process = project.start(*stage.command)
    stage.wait(project, process, 20)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    position = rf"after (\d+) of (\d+) {stage.what}"
    said = re.search(rf"^{stage.name}: interrupted {position}; run `make repro` to go on from there$", output, re.M)
    assert said and "Traceback" not in output, output
    assert 20 <= int(said[1]) < int(said[2])
    answered = json.loads(expected[stage.data])
    assert int(said[2]) == len(VARIANTS) * sum(len(answer.get("choices", [answer])) for answer in answered)
    resumed = project.dvc("repro", stage.name)
    assert f"resuming after {said[1]} of {said[2]} {stage.what}" in resumed.stdout
    assert stage.results(project) == expected
