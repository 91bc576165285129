"""A user's own files in inputs/: an edit runs the right stages, in the project and in queued experiments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_deps import read_yaml
from project import Project, copy_project
from ruamel.yaml import YAML
from test_experiments import wait_for_queue
from test_repro import stages_run

# For each kind: the stages that an edit runs, and an out of the first one.
RUN = {
    "corpus": ["download_corpus", "build_tokenizer", "tokenize_corpus"],
    "messages": ["prepare_sms"],
    "instructions": ["prepare_instructions", "prepare_preferences"],
    "preferences": ["prepare_preferences"],
}
SOURCES = {
    "corpus.source": ["inputs/corpus/books", "inputs/corpus/own.txt"],
    "sms.source": "inputs/messages/own.csv",
    "instructions.source": "inputs/instructions/own.json",
    "preferences.source": "inputs/preferences/own.json",
}
UP_TO_DATE = "Data and pipelines are up to date."


def write_own(project: Project, kind: str, word: str, name: str = "own") -> Path:
    """Write a small file as a user's own, with `word` in it."""
    if kind == "corpus":
        suffix, content = "txt", f"Good morning, {word}. How are you today, {word}?\n" * 40
    elif kind == "messages":
        rows = [f"{label},{label} {word} number {number}\n" for number in range(8) for label in ("ham", "spam")]
        suffix, content = "csv", "".join(["label,text\n", *rows])
    else:
        entries = [{"instruction": f"Say {number}.", "input": "", "output": f"{word}."} for number in range(20)]
        if kind == "preferences":
            entries = [{**entry, "chosen": f"Please, {word}.", "rejected": "Go away."} for entry in entries]
        suffix, content = "json", json.dumps(entries)
    path = project.folder / "inputs" / kind / f"{name}.{suffix}"
    path.write_text(content, encoding="utf-8")
    return path


def results(project: Project) -> dict[str, object]:
    """Return the deps and outs of the stages in dvc.lock."""
    return {
        stage: [[(item["path"], item["md5"]) for item in lock[key]] for key in ("deps", "outs")]
        for stage, lock in read_yaml(project.folder / "dvc.lock")["stages"].items()
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The data stages alone, which have run on the user's own files."""
    project = copy_project(tmp_path_factory.mktemp("own") / "a folder with spaces")
    pipeline = read_yaml(project.folder / "dvc.yaml")
    stages = {stage: pipeline["stages"][stage] for run in RUN.values() for stage in run}
    YAML().dump({"stages": stages}, project.folder / "dvc.yaml")
    (project.folder / "dvc.lock").unlink()
    project.set_params({**SOURCES, "tokenizer.vocab_size": 300, "windows.max_length": 8, "windows.stride": 8})
    project.set_params({"model.context_length": 256})
    (project.folder / "inputs/corpus/books").mkdir()
    write_own(project, "corpus", "Max", "books/one")
    for kind in RUN:
        write_own(project, kind, "Tom")
    project.commit("Own files")
    output = project.dvc("repro")
    assert sorted(stages_run(output.stdout)) == sorted(stages)
    assert "warning" not in output.stderr
    project.commit("Their results")
    return project


@pytest.fixture
def project(own: Project, tmp_path: Path) -> Project:
    return own.copy(tmp_path / "a folder with spaces")


@pytest.mark.parametrize("kind", RUN)
def test_an_edit_runs_the_stages_that_depend_on_it_once(project: Project, kind: str) -> None:
    assert UP_TO_DATE in project.dvc("repro").stdout
    write_own(project, kind, "Rosa")
    assert stages_run(project.dvc("repro").stdout) == RUN[kind]
    assert UP_TO_DATE in project.dvc("repro").stdout
    changed = {line[3:].split("/")[0] for line in project.git("status", "--porcelain").splitlines()}
    assert changed <= {"dvc.lock", "metrics"}


def test_an_own_file_added_to_dvc_is_watched_too(project: Project) -> None:
    project.dvc("add", "inputs/messages/own.csv")
    project.dvc("repro")
    write_own(project, "messages", "Rosa")
    assert stages_run(project.dvc("repro").stdout) == RUN["messages"]
    assert UP_TO_DATE in project.dvc("repro").stdout
    changed = {line[3:] for line in project.git("status", "--porcelain").splitlines()}
    assert changed <= {"dvc.lock", "inputs/messages/own.csv.dvc"}


def test_a_file_elsewhere_works_and_is_warned_of(project: Project) -> None:
    write_own(project, "messages", "Rosa").rename(project.folder.parent / "mine.csv")
    project.set_params({"sms.source": "../mine.csv"})
    ran = project.dvc("repro")
    assert stages_run(ran.stdout) == RUN["messages"]
    assert ran.stderr.splitlines().count(
        "prepare_sms: warning: DVC does not notice changes of ../mine.csv: put it into inputs/messages/ and name it "
        "there, or run `dvc repro --force prepare_sms` after each change"
    ) == 1  # fmt: skip
    (project.folder.parent / "mine.csv").write_text("label,text\n", encoding="utf-8")
    assert UP_TO_DATE in project.dvc("repro").stdout
    assert stages_run(project.dvc("repro", "--force", "prepare_sms", fails=True).stdout) == RUN["messages"]


def queue(project: Project, name: str, change: str) -> None:
    project.dvc("exp", "run", "--queue", "--name", name, "-S", change)


def run_queue(project: Project) -> dict[str, str]:
    """Run what is queued; return name -> status."""
    # Not with pipes: the worker in the background inherits them, and reading them would wait for it.
    start = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "1"]
    subprocess.run(start, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, check=True)
    try:
        return wait_for_queue(project)
    finally:
        project.dvc("queue", "stop", "--kill")


def keep_own_files(project: Project) -> None:
    kept = ["corpus/own.txt", "corpus/books", "messages/own.csv", "instructions/own.json", "preferences/own.json"]
    project.dvc("add", *(f"inputs/{path}" for path in kept))
    project.dvc("repro")
    project.commit("DVC keeps the files")


@pytest.mark.slow
def test_queued_experiments_use_own_files_as_they_were_when_queued(project: Project) -> None:
    keep_own_files(project)
    queue(project, "unrelated", "windows.stride=4")
    for kind in RUN:
        write_own(project, kind, "Rosa")
    write_own(project, "corpus", "Rosa", "books/two")
    wanted = project.copy(project.folder.parent / "wanted")
    queue(project, "edited", "windows.stride=4")
    for kind in RUN:
        write_own(project, kind, "Clara")
    write_own(project, "corpus", "Clara", "books/three")
    assert run_queue(project) == {"unrelated": "Success", "edited": "Success"}
    assert stages_run(project.dvc("queue", "logs", "unrelated").stdout) == ["tokenize_corpus"]
    ran = stages_run(project.dvc("queue", "logs", "edited").stdout)
    assert sorted(ran) == sorted({stage for run in RUN.values() for stage in run})
    # The same in a project of its own, without a queue.
    wanted.set_params({"windows.stride": 4})
    assert sorted(stages_run(wanted.dvc("repro").stdout)) == sorted(ran)
    project.dvc("exp", "apply", "edited")
    assert results(project) == results(wanted)
    assert "Rosa" in project.read("inputs/messages/own.csv") and "Rosa" in project.read("data/sms/train.csv")
    assert UP_TO_DATE in project.dvc("repro").stdout


@pytest.mark.slow
def test_queued_experiments_that_lack_an_own_file_say_how_to_get_it_there(project: Project) -> None:
    keep_own_files(project)
    sources = {
        "corpus": "corpus.source=[{}]",
        **{"messages": "sms.source={}", "instructions": "instructions.source={}"},
        "preferences": "preferences.source={}",
    }
    for kind, change in sources.items():
        path = write_own(project, kind, "Rosa", "new").relative_to(project.folder)
        queue(project, kind, change.format(path))
    assert run_queue(project) == dict.fromkeys(RUN, "Failed")
    for kind, suffix in (("corpus", "txt"), ("messages", "csv"), ("instructions", "json"), ("preferences", "json")):
        log = project.dvc("queue", "logs", kind).stdout
        assert f"{RUN[kind][0]}: error: inputs/{kind}/new.{suffix} is not in this experiment" in log
        assert "Traceback" not in log
    # Own files that DVC does not keep at all, unchanged since the project's own run.
    project.dvc("remove", "inputs/messages/own.csv.dvc")
    project.dvc("repro")
    project.commit("DVC keeps the messages no more")
    queue(project, "unrelated", "windows.stride=4")
    assert run_queue(project)["unrelated"] == "Failed"
    assert "run `dvc add inputs/messages/own.csv`" in project.dvc("queue", "logs", "unrelated").stdout
