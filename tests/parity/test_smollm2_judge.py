"""A real language model as the judge: SmolLM2-135M, served by llama.cpp, and the stage that has it judge.

It is a poor judge, and so its verdicts have every status. What it says is its own affair: the
tests ask that every answer has its row, that nothing is lost or asked twice, and that the judge is not trusted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from answered import answered
from dvc_deps import ROOT, read_yaml
from llama_cpp_server import LlamaCppServer
from ruamel.yaml import YAML

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.judges import open_judge
from scratchlm.judging.prompt import Status
from scratchlm.judging.verdicts import judge_items
from scratchlm.params.file import load_params

pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")
pytestmark = pytest.mark.slow

NAME = "smollm2"
JUDGE = f"openai:{NAME}"
CONTEXT = 1024
LONG = {"SCRATCHLM_JUDGE_TIMEOUT_S": "600", "SCRATCHLM_JUDGE_PATIENCE_S": "600"}  # a busy machine is no dead one
ENTRIES = [
    answered(0, "", "The answer is 120.", "Gladly: it is 120.", instruction="What is 50 plus 70?", output="It is 120."),
    answered(
        1,
        "The chef is cooked.",
        "The meal is cooked by the chef.",
        "The meal is cooked by the chef.",
        instruction="Rewrite the sentence in the passive voice.",
        input="The chef cooks the meal.",
        output="The meal is cooked by the chef.",
    ),
    # What does not fit into the server's context is refused.
    answered(2, "Sad.", "happy " * 2000, "Glad.", instruction="Give a synonym for 'happy'.", output="Glad."),
]
LEARNT = [{"instruction": "What is 60 plus 60?", "input": "", "output": "It is 120."}]
AT_ONCE = 4
# What the questions here lead to, whatever the model writes.
FORCED: set[Status] = {"empty", "equal", "http_error", "truncated"}
N_ANSWERS = len(VARIANTS) * len(ENTRIES)
N_PAIRS = 2 * len(COMPARED) * len(ENTRIES)


@pytest.fixture(scope="module")
def server(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppServer]:
    with LlamaCppServer(smollm2_gguf, NAME, tmp_path_factory.mktemp("llama_cpp") / "log", CONTEXT) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as generate_responses leaves it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data/instructions").mkdir(parents=True)
    (folder / "data/instructions/train.json").write_text(json.dumps(LEARNT))
    (folder / "data/responses.json").write_text(json.dumps(ENTRIES))
    return folder


def start_stage(project: Path, server: LlamaCppServer, seed: int, changes: dict[str, Any], **env: str) -> Any:
    params = read_yaml(ROOT / "profiles/sample.yaml")
    params["seed"] = seed
    params["judge"] |= {"judges": [JUDGE, "overlap"], "max_answer_tokens": 48, "probes": 1, "min_coverage": 0.0}
    params["judge"] |= changes
    with (project / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    environment = {**os.environ, **LONG, "PYTHONPATH": str(ROOT / "src"), "OPENAI_BASE_URL": server.url}
    environment |= {"SCRATCHLM_CACHE": str(project / "cache"), "OPENAI_API_KEY": "", **env}
    return subprocess.Popen(
        [sys.executable, "-m", "scratchlm.stage", ROOT / "stages/judge_responses.py"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_stage(
    project: Path, server: LlamaCppServer, seed: int = 123, changes: dict[str, Any] | None = None, **env: str
) -> tuple[int, str, str]:
    return ended(start_stage(project, server, seed, changes or {}, **env))


def ended(running: Any) -> tuple[int, str, str]:
    output, errors = running.communicate(timeout=1800)
    assert "Traceback" not in errors, errors
    return running.returncode, output, errors


def n_cached(project: Path) -> int:
    with AnswerCache(project / "cache/judge/answers.sqlite") as cache:
        return cache.count()


def wait_for(n_answers: int, project: Path, running: Any) -> None:
    """Wait until so many answers are in the cache."""
    while n_cached(project) < n_answers:
        assert running.poll() is None, "the stage was through before the server could be killed"
        time.sleep(0.05)


def read_rows(project: Path) -> list[dict[str, Any]]:
    """All rows of the language model: of answers, then of pairs."""
    found = [json.loads((project / f"data/{name}.json").read_text()) for name in ("verdicts", "pairwise")]
    return [row for rows in found for row in rows if row["judge"] == JUDGE]


def written(project: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for folder in ("data", "metrics")
        for path in (project / folder).rglob("*")
        if path.is_file()
    }


def assert_distrusted(project: Path, output: str) -> None:
    """Console and report name the judge and the same reasons, each a figure with what is wanted of it."""
    *_, warning, reasons = output.splitlines()
    said = f"{JUDGE} cannot be trusted, its scores say little about the answers:"
    assert warning == f"warning: {said}"
    assert reasons.count("(at ") >= 1
    report = (project / "data/comparison.md").read_text()
    assert f"**`{JUDGE}` cannot be trusted**, its scores say little about the answers: {reasons.strip()}.\n" in report


def test_nothing_is_lost_or_asked_twice_and_a_poor_judge_is_not_trusted(server: LlamaCppServer, project: Path) -> None:
    statuses: set[str] = set()
    pairwise = {"pairwise": True}

    # The server dies for good after three answers: a row for each question all the same.
    running = start_stage(project, server, 123, pairwise, SCRATCHLM_JUDGE_PATIENCE_S="1")
    wait_for(3, project, running)
    server.kill()
    code, output, errors = ended(running)
    *_, last = errors.splitlines()
    assert code == 1 and f"error: {JUDGE} stopped answering (" in last and "asks only for what is missing" in last
    rows = read_rows(project)
    assert len(rows) == N_ANSWERS + N_PAIRS
    assert {row["reason"] for row in rows} >= {"not asked: the server had stopped answering"}
    statuses |= {row["status"] for row in rows}

    # It is back, dies amid the rest, and comes back in time.
    server.start()
    n_known = n_cached(project)
    running = start_stage(project, server, 123, pairwise)
    wait_for(n_known + 5, project, running)
    server.kill()
    n_known, n_before = n_cached(project), server.n_asked()
    server.start()
    code, output, errors = ended(running)
    assert code == 0, errors
    n_new = n_cached(project) - n_known  # and what was in flight when the server died
    assert n_new <= server.n_asked() - n_before <= n_new + AT_ONCE, "asked for what was in the cache"
    rows = read_rows(project)
    by_answer = {(row["id"], row["variant"]): row for row in rows[:N_ANSWERS]}
    assert (by_answer[0, "base"]["status"], by_answer[0, "base"]["score"]) == ("empty", 0)
    assert by_answer[2, "assistant"]["status"] == "http_error"
    assert "context size" in by_answer[2, "assistant"]["reason"]
    assert [row["status"] for row in rows[N_ANSWERS:]].count("equal") == 2
    assert all(row["raw"] for row in rows if row["status"] not in ("empty", "equal", "http_error"))
    statuses |= {row["status"] for row in rows}
    assert_distrusted(project, output)
    metrics = json.loads((project / "metrics/judge_responses.json").read_text())
    assert metrics["pairwise"]["n"] == len(ENTRIES) and metrics["probes"]["n"] == 5
    assert f"{JUDGE} ~ overlap" in metrics["agreement"]

    # A second run asks nothing anew but what the server refused.
    n_known, n_before, first = n_cached(project), server.n_asked(), written(project)
    code, again, errors = run_stage(project, server, changes=pairwise)
    assert (code, again) == (0, output), errors
    assert (n_cached(project), server.n_asked()) == (n_known, n_before)
    assert without_attempts(written(project)) == without_attempts(first)

    # The other prompt at another temperature and seed asks anew, and the answers are kept apart.
    rubric = {"prompt": "rubric", "temperature": 0.8, "probes": 0}
    code, output, errors = run_stage(project, server, 7, rubric)
    assert code == 0, errors
    assert n_cached(project) > n_known
    assert_distrusted(project, output)
    rows = read_rows(project)
    assert {row["options"]["seed"] for row in rows if "options" in row} == {7}
    statuses |= {row["status"] for row in rows}

    # Where the judge is said to see 64 tokens, the same answers count for nothing: too few scores, and all is kept.
    n_known, n_before = n_cached(project), server.n_asked()
    code, output, errors = run_stage(project, server, 7, rubric | {"num_ctx": 64, "min_coverage": 0.9})
    assert code == 1 and f"error: the judge {JUDGE} scored 1 of 9 answers (11.1%)" in errors.splitlines()[-1]
    assert (n_cached(project), server.n_asked()) == (n_known, n_before)
    assert_distrusted(project, output)
    assert "12.5 % of the answers scored (at least 90 %)" in output
    rows = read_rows(project)
    assert [row["status"] for row in rows].count("truncated") == 7
    assert "does not fit into the 64 tokens of judge.num_ctx" in rows[-1]["reason"]

    # Each question takes longer than it may.
    changes = rubric | {"max_answer_tokens": 512, "probes": 0}
    slow = {"SCRATCHLM_JUDGE_TIMEOUT_S": "1", "SCRATCHLM_JUDGE_PATIENCE_S": "1"}
    run_stage(project, server, 8, changes, **slow)
    assert "no answer within 1 s" in {row["reason"] for row in read_rows(project)}

    assert statuses >= FORCED


@pytest.mark.parametrize(
    ("prompt", "question", "reference", "answer", "status"),
    [
        ("book", "What is the capital of France?", "Paris.", "Paris is the capital of France.", "parse_error"),
        ("book", "What is 50 plus 70?", "It is 120.", "The answer is 120.", "out_of_range"),
        ("rubric", "What is 50 plus 70?", "It is 120.", "The answer is 120.", "ok"),
    ],
)
def test_what_the_model_writes_leads_to_the_other_statuses(
    smollm2_gguf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    question: str,
    reference: str,
    answer: str,
    status: Status,
) -> None:
    """Of a server that answers one question at a time, so that no other one changes how its numbers are rounded."""
    settings = load_params(ROOT / "profiles/sample.yaml").judge
    settings = settings.model_copy(update={"prompt": prompt, "max_answer_tokens": 48})
    entry: Any = answered(0, answer, "", "", instruction=question, output=reference)
    with (
        LlamaCppServer(smollm2_gguf, NAME, tmp_path / "log", CONTEXT, n_at_once=1) as server,
        AnswerCache(tmp_path / "answers.sqlite") as cache,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        (row,) = judge_items([("base", entry, answer)], open_judge(JUDGE, settings, 123, cache), 1, 60.0, "answers")
    assert row["status"] == status


def without_attempts(files: dict[str, bytes]) -> dict[str, Any]:
    """The files, but for how often the refused questions were asked."""
    found: dict[str, Any] = dict(files)
    for path, content in files.items():
        if path.endswith(("verdicts.json", "pairwise.json")):
            found[path] = [row | {"attempts": None} for row in json.loads(content)]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_script_serves_the_model_under_its_name_until_it_is_stopped(
    smollm2_gguf: Path, tmp_path: Path, number: signal.Signals
) -> None:
    assert smollm2_gguf.is_file()  # else the script, which gets it for itself, cannot have it either
    command = [sys.executable, ROOT / "scripts/serve_gguf.py", "smollm2-135M", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        first, export, shown = (running.stdout.readline() for _ in range(3))
        assert first.startswith("smollm2-135M answers until Ctrl-C.")
        url = export.strip().removeprefix("export OPENAI_BASE_URL=")
        assert url.startswith("http://127.0.0.1:") and "judge.judges=[openai:smollm2-135M,overlap]" in shown
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before this machine itself
            listed = session.get(f"{url}/models", timeout=60).json()["data"]
        assert [one["id"] for one in listed] == ["smollm2-135M"]
        running.send_signal(number)
        try:
            _, errors = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0 and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
