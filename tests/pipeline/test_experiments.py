"""Experiments: one change reruns one stage, differences are shown, a queue runs to its end."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ollama_server import OllamaServer
from project import Project, TinyRun
from scripted_server import Reply, prompt_of
from test_repro import stages_run
from test_visualize import PICTURES

CHANGE = "finetune_classifier.train_layers=last_layer"
QUEUE_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def experiment(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project after one experiment, and what DVC printed."""
    project = tiny_run.project.copy(tmp_path_factory.mktemp("experiment") / "a folder with spaces")
    return project, project.dvc("exp", "run", "--name", "last-layer", "--set-param", CHANGE).stdout


def test_an_experiment_runs_exactly_the_stages_that_use_the_param(experiment: tuple[Project, str]) -> None:
    assert stages_run(experiment[1]) == ["finetune_classifier"]


def test_params_diff_shows_the_change(experiment: tuple[Project, str]) -> None:
    shown = json.loads(experiment[0].dvc("params", "diff", "--json").stdout)
    assert shown == {"params.yaml": {"finetune_classifier.train_layers": {"old": "all", "new": "last_layer"}}}


def test_metrics_diff_shows_what_the_change_did(experiment: tuple[Project, str]) -> None:
    shown = json.loads(experiment[0].dvc("metrics", "diff", "--json").stdout)
    assert shown.keys() == {"metrics/finetune_classifier.json"}
    loss = shown["metrics/finetune_classifier.json"]["validation_loss"]
    assert loss["diff"] == pytest.approx(loss["new"] - loss["old"]) != 0


def test_plots_show_and_diff_hold_every_plot(experiment: tuple[Project, str]) -> None:
    project = experiment[0]
    titles = {
        "Pretraining loss by step",
        "Pretraining loss by tokens seen",
        "Classifier loss",
        "Classifier accuracy",
        "Classifier confusion matrix",
        "Instruction fine-tuning loss",
        "Preference tuning loss",
        "Preference rewards",
        "Preference accuracy",
        "Judge scores",
        *PICTURES,
    }
    for command in (["show"], ["diff", "HEAD"]):
        shown = json.loads(project.dvc("plots", *command, "--json").stdout)
        assert shown.get("errors", []) == []
        plots = {name: plot for name, plot in shown["data"].items() if plot}
        assert plots.keys() == titles
    (losses,) = plots["Classifier loss"]
    assert {row["rev"] for row in losses["content"]["data"]["values"]} == {"HEAD", "workspace"}


def test_a_plots_page_is_written_where_git_ignores_it(experiment: tuple[Project, str]) -> None:
    project = experiment[0]
    project.dvc("plots", "diff", "HEAD")
    assert (project.folder / "dvc_plots" / "index.html").is_file()
    assert "dvc_plots" not in project.git("status", "--porcelain")


def test_an_experiment_leaves_no_data_in_git(experiment: tuple[Project, str]) -> None:
    changed = [line[3:] for line in experiment[0].git("status", "--porcelain").splitlines()]
    assert sorted(changed) == ["dvc.lock", "metrics/finetune_classifier.json", "params.yaml"]


def score_or_compare(request: dict[str, Any]) -> Reply:
    """Score an answer, or prefer the first one of a pair."""
    return Reply('{"reason": "", "verdict": "A"}') if "<answer-A-" in prompt_of(request) else Reply()


@pytest.mark.slow
def test_judges_on_a_server_are_an_experiment_as_the_readme_shows_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # keeps this server's answers out of the user's cache
    # Drawn at random, the answers of two models that learned little differ; nobody is asked about equal ones.
    project.dvc("exp", "run", "-S", "generate.temperature=1.0")
    with OllamaServer(answer=score_or_compare) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.host)
        for judges in ("[ollama:llama3]", "[ollama:llama3,overlap]"):
            output = project.dvc("exp", "run", "--set-param", f"judge.judges={judges}").stdout
            assert stages_run(output) == ["judge_responses"]
            assert max(server.asked.values()) == 1  # in both together
        output = project.dvc("exp", "run", "-S", "judge.judges=[ollama:llama3]", "-S", "judge.pairwise=true").stdout
        assert stages_run(output) == ["judge_responses"]
        assert max(server.asked.values()) == 1
        metrics = json.loads(project.read("metrics/judge_responses.json"))
        n = len(json.loads(project.read("data/responses.json")))
        for compared in (metrics["pairwise"], metrics["preferred_pairwise"]):
            assert (compared["n"], compared["n_judged"], compared["first_preferred"]) == (n, n, 100)
        assert len(json.loads(project.read("data/pairwise.json"))) == 2 * 2 * n
        project.dvc("exp", "run", "-S", "judge.judges=[ollama:llama3,overlap]", "-S", "judge.pairwise=false")
    metrics = json.loads(project.read("metrics/judge_responses.json"))
    assert (metrics["judge"], list(metrics["others"])) == ("ollama:llama3", ["overlap"])
    assert metrics["assistant"]["coverage"] == 1
    assert list(metrics["agreement"]) == ["ollama:llama3 ~ overlap"]


@pytest.mark.slow
def test_two_queued_experiments_both_succeed(project: Project) -> None:
    # The last stage only: this tests the queue, in its folder below .dvc/tmp.
    for name, coverage in (("lenient", 0.5), ("strict", 1.0)):
        project.dvc("exp", "run", "--queue", "--name", name, "-S", f"judge.min_coverage={coverage}")
    # Not with pipes: the worker in the background inherits them, and reading them would wait for it.
    start = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "1"]
    subprocess.run(start, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, check=True)
    try:
        assert wait_for_queue(project) == {"lenient": "Success", "strict": "Success"}
    finally:
        project.dvc("queue", "stop", "--kill")
    assert stages_run(project.dvc("queue", "logs", "strict").stdout) == ["judge_responses"]
    changes = json.loads(project.dvc("params", "diff", "lenient", "strict", "--json").stdout)
    assert changes == {"params.yaml": {"judge.min_coverage": {"old": 0.5, "new": 1.0, "diff": 0.5}}}
    assert project.git("status", "--porcelain") == ""


def wait_for_queue(project: Project) -> dict[str, str]:
    """Return name -> status of each queued experiment, once none is waiting or running."""
    deadline = time.monotonic() + QUEUE_TIMEOUT_S
    while True:
        lines = project.dvc("queue", "status").stdout.splitlines()
        header = lines[0].split()
        status = {}
        for line in lines[1:]:
            words = line.split()
            if words and words[0] != "Worker":
                status[words[header.index("Name")]] = words[-1]
        if not set(status.values()) & {"Queued", "Running"}:
            return status
        assert time.monotonic() < deadline, f"the queue is still busy after {QUEUE_TIMEOUT_S} s: {status}"
        time.sleep(2)
