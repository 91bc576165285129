"""Two concurrent runs of the same stages, as a queue's workers start them, give the results of a single run."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from http_fault_server import FaultServer, redirect, serve
from openai_server import OpenAiServer
from project import Project, TinyRun
from scripted_server import Reply
from test_repro import stages_run

DVC = (sys.executable, "-m", "dvc")
RUNS = ("one", "other")
# The stages that run again: a download, a training long enough for the two runs to overlap, the judge.
TRAINING = "finetune_classifier"
STAGES = ["prepare_sms", TRAINING, "judge_responses"]
LONGER = {"finetune_classifier.epochs": 4, "finetune_classifier.batch_size": 16, "judge.judges": ["openai:tiny"]}


def score(request: dict[str, Any]) -> Reply:
    return Reply(str(zlib.crc32(json.dumps(request["messages"]).encode()) % 101))


def messages_of(project: Project) -> bytes:
    """Return all messages of the project, as the text of a file for `sms.source`."""
    lines = ["label,text"]
    for split in ("train", "validation", "test"):
        for row in project.read(f"data/sms/{split}.csv").splitlines()[1:]:
            label, _, text = row.partition(",")
            lines.append(f"{('ham', 'spam')[int(label)]},{text}")
    return "\n".join(lines).encode()


def results_of(project: Project, experiment: str) -> dict[str, str]:
    """Read the lock and the metrics that an experiment has committed."""
    (ref,) = project.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{experiment}").split()
    paths = project.git("ls-tree", "-r", "--name-only", ref, "dvc.lock", "metrics/").splitlines()
    return {path: project.git("show", f"{ref}:{path}") for path in paths}


@pytest.mark.slow
def test_two_experiments_at_once_end_as_one_alone_and_share_downloads_and_answers(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    project = tiny_run.project.copy(tmp_path / "together" / "a folder with spaces")
    body = messages_of(project)
    with FaultServer() as files, OpenAiServer(answer=score) as judge:
        linked = f'"{hashlib.sha256(body).hexdigest()}"'
        url = files.plan(
            f"/{'a' * 40}/messages.csv", redirect(files.plan("/storage", serve(body)), X_Linked_Etag=linked)
        )
        project.set_params({**LONGER, "sms.source": url})
        project.commit("Data and a judge from elsewhere")
        alone = project.copy(tmp_path / "alone" / "project")

        cache = tmp_path / "cache"
        environment = {"OPENAI_BASE_URL": judge.url, "SCRATCHLM_CACHE": str(cache)}
        running = [project.start(*DVC, "exp", "run", "--temp", "--name", name, **environment) for name in RUNS]
        outputs = [process.communicate(timeout=300)[0] for process in running]
        assert [process.returncode for process in running] == [0, 0], outputs
        ran = [stages_run(output) for output in outputs]  # the later run finds the stage in DVC's run cache
        assert set(ran[0]) | set(ran[1]) == set(STAGES) and all(TRAINING in stages for stages in ran)
        assert sum("another process computes the same" in output for output in outputs) == 1  # the two runs overlapped
        fetched, asked = len(files.headers_of("/storage")), len(judge.requests)

        environment["SCRATCHLM_CACHE"] = str(tmp_path / "another cache")
        process = alone.start(*DVC, "repro", **environment)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        needed = len(judge.requests) - asked

    metrics = [f"metrics/{path.name}" for path in (alone.folder / "metrics").iterdir()]
    expected = {path: alone.read(path) for path in ("dvc.lock", *metrics)}
    for name in RUNS:
        assert results_of(project, name) == expected
    assert fetched == 1
    assert needed <= asked <= 2 * needed
    with closing(sqlite3.connect(cache / "judge" / "answers.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM answers").fetchall() == [(needed,)]
    assert [path.name for path in cache.glob("*.part*")] == []
    assert all((kept / "done").exists() for kept in (project.folder / ".checkpoints").glob("*/*"))
