"""The report of the real pipeline's results: of the workspace, of revisions, and as `make repro` ends with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from dvc_deps import ROOT
from fabricated import Page
from project import Project


def report(project: Project, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", "report", *words],
        cwd=project.folder,
        env={**project.environment, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
    )


def page_of(project: Project, *words: str) -> Page:
    done = report(project, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return Page(project.read("report.html"))


def make_repro(project: Project) -> subprocess.CompletedProcess[str]:
    """Run `make repro` in the environment of the tests, which needs no setup."""
    return project.run("make", "--old-file=setup", "repro", "RUN=")


def test_a_finished_run_is_shown_with_its_figures_and_the_same_bytes_each_time(project: Project) -> None:
    done = report(project, PYTHONHASHSEED="1")
    html = project.read("report.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"report.html: {len(html.encode()):,} bytes, open it in a browser\n"
    assert len(html.encode()) < 1_500_000
    assert project.git("status", "--porcelain") == ""
    page = Page(html)
    assert "has not run" not in html and "neither" not in html and "out of date" not in html
    assert html.count("<svg") == 8 and html.count("<article") == 10 and html.count("data:image/png") == 1

    classifier = json.loads(project.read("metrics/finetune_classifier.json"))
    assert page.row("accuracy of this classifier") == [f"{classifier['test_accuracy']:.2f} %"]
    scores = json.loads(project.read("metrics/judge_responses.json"))["difference"]
    interval = f"{scores['ci95_low']:.2f} to {scores['ci95_high']:.2f}"
    assert page.row("assistant - base")[:3] == [f"{scores['mean']:.2f}", interval, "110"]
    answer = json.loads(project.read("data/responses.json"))[0]["assistant"]["text"]
    assert answer in page.texts
    (line,) = (text for text in page.texts if text.startswith("The profile "))
    assert line.startswith("The profile sample, with ")
    assert page.row("pretrain.batch_size") == ["4", "64"]

    report(project, "workspace", "--out", "again.html", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LANG="C")
    assert project.read("again.html") == html


def test_revisions_stand_beside_each_other_and_nothing_is_checked_out(project: Project) -> None:
    project.set_params({"judge.probes": 5})
    project.dvc("repro", "--single-item", "judge_responses")
    responses = project.read("data/responses.json")
    page = page_of(project, "HEAD", "workspace")
    assert page.rows("judge.probes") == [["20", "5"]] * 2  # workspace beside its profile, and beside HEAD
    assert page.row("items") == ["100", "25"]
    assert "Every score" not in page.text
    row = page.row("assistant, overlap: workspace - HEAD")
    assert row[0] == "+0.00" and row[-1] == "undecided"
    # A commit is named, so that a later reader knows which one it was.
    commit = project.git("rev-parse", "--short=7", "HEAD").strip()
    assert f"HEAD ({commit}) · workspace" in page.texts
    assert project.read("data/responses.json") == responses


def test_what_ran_with_other_params_or_inputs_is_named(project: Project) -> None:
    project.set_params({"seed": 5, "instructions.max_entries": 500})
    project.dvc("repro", "--single-item", "prepare_instructions")
    (line,) = (text for text in page_of(project).texts if "out of date" in text)
    assert "pretrain (seed);" in line and "finetune_instructions (seed, data/instructions);" in line
    assert "prepare_instructions (" not in line


def test_what_the_workspace_has_of_another_run_is_left_out_and_named(project: Project) -> None:
    """As after `git checkout` without `dvc checkout`, and after an edit."""
    others = {"data/responses.json": "[]", "metrics/pretrain.json": '{"validation_loss": "abc"}'}
    for path, text in {**others, "experiments/broken.yaml": "nothing"}.items():
        (project.folder / path).unlink(missing_ok=True)
        (project.folder / path).write_text(text)
    (project.folder / "metrics" / "finetune_classifier.json").unlink()
    page = page_of(project)
    (line,) = (text for text in page.texts if text.startswith("left out"))
    assert line.startswith("left out, for it is not what the run in dvc.lock wrote:")
    assert "metrics/pretrain.json" in line and "data/responses.json" in line and "verdicts" not in line
    assert "`dvc checkout` brings it back" in line
    assert "missing: metrics/finetune_classifier.json. `make repro` makes it again." in page.texts
    assert "abc" not in page.text and "article" not in {tag for tag, _ in page.tags}
    assert "sweeps" in page.ids and "sweeps" not in page_of(project, "HEAD").ids  # the sets are those of today


def test_a_revision_whose_outputs_are_lost_has_its_metrics(project: Project) -> None:
    shutil.rmtree(project.folder / ".dvc" / "cache")
    page = page_of(project, "HEAD")
    assert page.row("accuracy of this classifier")
    assert any("data/responses.json: neither DVC's cache nor its remote" in text for text in page.texts)
    assert "article" not in {tag for tag, _ in page.tags}


def test_what_cannot_be_reported_ends_in_one_line(project: Project) -> None:
    unknown = report(project, "nothing")
    assert unknown.returncode == 1 and "nothing is unknown" in unknown.stderr
    (project.folder / "dvc.lock").unlink()
    unbuilt = report(project)
    assert unbuilt.returncode == 1 and "workspace has no results" in unbuilt.stderr
    for done in (unknown, unbuilt):
        assert len(done.stderr.splitlines()) == 1
    assert not (project.folder / "report.html").exists()


@pytest.mark.slow
def test_make_repro_ends_with_the_report_and_does_not_fail_by_it(project: Project) -> None:
    first = make_repro(project).stdout.splitlines()
    assert first[-1].startswith("report.html: ") and first[-2] == "Data and pipelines are up to date."
    path = project.folder / "report.html"
    html = path.read_text(encoding="utf-8")
    path.write_text("the report of another revision")
    assert make_repro(project).stdout.splitlines()[-1] == first[-1]
    assert path.read_text(encoding="utf-8") == html
    path.unlink()
    path.mkdir()
    assert "scratchlm: error: report.html is in the way" in make_repro(project).stderr


@pytest.mark.slow
def test_an_experiment_is_a_revision(project: Project) -> None:
    project.dvc("exp", "run", "--name", "shorter", "-S", "generate.max_new_tokens=3")
    page = page_of(project, "HEAD", "shorter")
    assert ["8", "3"] in page.rows("generate.max_new_tokens")
    assert "base, shorter" in page.texts
