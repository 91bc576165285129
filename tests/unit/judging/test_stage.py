"""The stage that judges, as a real process against real servers: several judges, a death midway, a bad file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from answered import answered
from ollama_server import OllamaServer
from openai_server import OpenAiServer
from scripted_server import DROPPED, HANGS, Reply

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.judging.answer_cache import AnswerCache

REPOSITORY = Path(__file__).parents[3]
KEY = "sk-0123456789abcdef"
N_ENTRIES = 8
N_ANSWERS = len(VARIANTS) * N_ENTRIES
N_PAIRS = 2 * len(COMPARED) * N_ENTRIES  # in both orders
FRUIT = ("apple", "pear", "plum", "cherry", "fig", "grape", "lemon", "melon")


def length_of_prompt(request: dict[str, Any]) -> Reply:
    return Reply(str(len(request["messages"][0]["content"]) % 101))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as generate_responses leaves it."""
    entries = [
        answered(
            index, f"Which fruit, {index}", f"It is the {name}.", f"Gladly: the {name}.", output=f"The {name} it is."
        )
        for index, name in enumerate(FRUIT)
    ]
    (tmp_path / "data" / "instructions").mkdir(parents=True)
    # The first answer stands in train.
    learnt = [{"instruction": "Name a fruit.", "input": "", "output": "The apple it is."}]
    (tmp_path / "data" / "instructions" / "train.json").write_text(json.dumps(learnt))
    (tmp_path / "data" / "responses.json").write_text(json.dumps(entries))
    return tmp_path


def prefer_the_apple(request: dict[str, Any]) -> Reply:
    """Score an answer as ever; of a pair prefer the assistant's answer, for entry 0 what is shown first."""
    prompt = request["messages"][0]["content"]
    if "<answer-A-" not in prompt:
        return length_of_prompt(request)
    is_first = "The apple it is." in prompt or re.search(r"<answer-A-\w+>\nIt is the", prompt)
    return Reply(json.dumps({"reason": "It names a fruit.", "verdict": "A" if is_first else "B"}))


def start_stage(
    project: Path, judges: list[str], host: str = "", url: str = "", pairwise: bool = False, **env: str
) -> subprocess.Popen[str]:
    params = (REPOSITORY / "profiles" / "sample.yaml").read_text(encoding="utf-8")
    assert "  judges:\n  - overlap\n" in params
    listed = "".join(f"  - {judge}\n" for judge in judges)
    changed = params.replace("  - overlap\n", listed)
    if pairwise:
        assert "  pairwise: false\n" in params
        changed = changed.replace("  pairwise: false\n", "  pairwise: true\n")
    (project / "params.yaml").write_text(changed, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "scratchlm.stage", REPOSITORY / "stages" / "judge_responses.py"],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "SCRATCHLM_CACHE": str(project / "cache"),
            "OLLAMA_HOST": host,
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": KEY,
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_stage(
    project: Path, judges: list[str], host: str = "", url: str = "", pairwise: bool = False, **env: str
) -> tuple[int, str, str]:
    running = start_stage(project, judges, host, url, pairwise, **env)
    output, errors = running.communicate(timeout=60)
    return running.returncode, output, errors


def written(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for folder in ("data", "metrics")
        for path in (project / folder).rglob("*")
        if path.is_file()
    }


def test_several_judges_each_have_their_rows_and_the_key_is_nowhere(project: Path) -> None:
    judges = ["ollama:llama3", "openai:tiny", "overlap"]
    with OllamaServer(answer=length_of_prompt) as ollama, OpenAiServer(key=KEY, answer=length_of_prompt) as openai:
        code, output, errors = run_stage(project, judges, ollama.host, openai.url)
        assert code == 0, errors
        n_asked = len(ollama.requests), len(openai.requests)
        first = written(project)
        code, again_output, _ = run_stage(project, judges, ollama.host, openai.url)
        assert (code, again_output) == (0, output)
        assert (len(ollama.requests), len(openai.requests)) == n_asked  # a second run costs nothing
    assert written(project) == first
    rows = json.loads(first["data/verdicts.json"])
    assert [row["judge"] for row in rows] == [judge for judge in judges for _ in range(N_ANSWERS)]
    assert {row["status"] for row in rows} == {"ok"}
    options = {row["judge"]: row.get("options") for row in rows}  # all that decides a score, but for the address
    assert options == {
        "ollama:llama3": {"seed": 123, "temperature": 0.0, "num_ctx": 2048, "num_predict": 256},
        "openai:tiny": {"seed": 123, "temperature": 0.0, "max_tokens": 256},
        "overlap": None,
    }
    metrics = json.loads(first["metrics/judge_responses.json"])
    assert (metrics["judge"], metrics["backend"], metrics["model"]) == ("ollama:llama3", "ollama", "llama3")
    assert list(metrics["others"]) == judges[1:]
    agreed = metrics["agreement"]["ollama:llama3 ~ openai:tiny"]
    assert agreed == {"spearman": 1, "mean_absolute_difference": 0, "n": N_ANSWERS}
    assert metrics["probes"]["n"] > N_ENTRIES
    assert (metrics["known_answers"]["n"], metrics["new_answers"]["n"]) == (1, 7)
    known = [row["score"] for row in rows[:N_ANSWERS] if (row["id"], row["variant"]) == (0, "assistant")]
    assert [metrics["known_answers"]["mean"]] == known
    assert first["data/pairwise.json"] == b"[]\n" and "pairwise" not in metrics
    assert "## Entry" in first["data/comparison.md"].decode()
    files = [path for path in project.rglob("*") if path.is_file()]
    assert len([path for path in files if "cache" in path.parts]) >= 1
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in output + errors


def test_a_server_that_dies_midway_ends_in_one_line_and_the_next_run_asks_only_for_what_is_missing(
    project: Path,
) -> None:
    with OllamaServer(answer=length_of_prompt) as server:
        server.replies = [Reply("80")] * 5 + [DROPPED] * 1000
        code, _, errors = run_stage(project, ["ollama:llama3"], server.host, SCRATCHLM_JUDGE_PATIENCE_S="1")
        assert code == 1
        *_, last = errors.splitlines()
        assert "Traceback" not in errors and len(errors.splitlines()) == 2
        assert last.startswith("judge_responses: error: ollama:llama3 stopped answering (ConnectionError")
        assert "5 of 24 answers have a score, 19 are missing. All rows are in data/verdicts.json" in last
        assert f"{project}/cache/judge/answers.sqlite" in last and "asks only for what is missing" in last
        rows = json.loads((project / "data" / "verdicts.json").read_text())
        assert [row["status"] for row in rows].count("ok") == 5 and len(rows) == N_ANSWERS
        server.replies.clear()
        server.requests.clear()
        code, _, errors = run_stage(project, ["ollama:llama3"], server.host)
        assert code == 0, errors
        n_probes = json.loads((project / "metrics" / "judge_responses.json").read_text())["probes"]["n"]
        # A probe that repeats the reference and an answer never ask the same here.
        assert len(server.requests) == N_ANSWERS - 5 + n_probes
        assert max(server.asked.values()) == 1


def test_ctrl_c_while_the_server_hangs_ends_the_stage_at_once(project: Path) -> None:
    with OllamaServer() as server:
        server.answer = lambda request: Reply("80") if len(server.requests) <= 6 else HANGS
        running = start_stage(project, ["ollama:llama3"], server.host)
        while len(server.requests) < 10:
            assert running.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        sent_s = time.monotonic()
        _, errors = running.communicate(timeout=20)
        assert time.monotonic() - sent_s < 3
    assert running.returncode == 1
    assert errors == "judge_responses: interrupted; run `make repro` to go on\n"
    with AnswerCache(project / "cache" / "judge" / "answers.sqlite") as cache:
        assert {name: len(latencies_s) for name, latencies_s in cache.latencies_by_judge().items()} == {
            "ollama:llama3": 6
        }


def test_four_are_judged_at_once_or_as_many_as_the_environment_says(project: Path) -> None:
    with OllamaServer() as server:
        for count, env in (
            (4, {}),
            (2, {"SCRATCHLM_JUDGE_CONCURRENCY": "2", "SCRATCHLM_CACHE": str(project / "other")}),
        ):
            under_way: list[int] = []

            def answer(request: dict[str, Any], under_way: list[int] = under_way) -> Reply:
                under_way.append(len(server.requests) - len(server.answered))
                return Reply("80", delay_s=0.05)

            server.answer = answer
            code, _, errors = run_stage(project, ["ollama:llama3"], server.host, **env)
            assert (code, max(under_way)) == (0, count), errors
    code, _, errors = run_stage(project, ["overlap"], SCRATCHLM_JUDGE_CONCURRENCY="0")
    assert errors == "judge_responses: error: SCRATCHLM_JUDGE_CONCURRENCY is '0', wanted a whole number from 1 to 64\n"


def test_a_model_that_is_missing_is_told_before_the_first_question_to_another(project: Path) -> None:
    with OllamaServer() as ollama, OpenAiServer(key=KEY) as openai:
        code, _, errors = run_stage(project, ["ollama:llama3", "openai:gone"], ollama.host, openai.url)
        assert (code, len(errors.splitlines())) == (1, 1)
        assert "has no model 'gone'" in errors
        assert not ollama.requests


def test_too_few_scores_fail_the_stage_which_leaves_every_row_behind(project: Path) -> None:
    with OllamaServer(answer=lambda request: Reply("Great!")) as server:
        code, output, errors = run_stage(project, ["ollama:llama3"], server.host)
    *_, last = errors.splitlines()
    assert (code, "Traceback" in errors) == (1, False)
    assert last.startswith("judge_responses: error: the judge ollama:llama3 scored 0 of 24 answers (0.0%)")
    assert "24 failed: 24 parse_error; the commonest reason: no number in the answer" in last
    assert output.count("none               none      0, 8 without a score\n") == len(VARIANTS)
    rows = json.loads((project / "data" / "verdicts.json").read_text())
    assert [(row["status"], row["raw"], row["attempts"]) for row in rows] == [("parse_error", "Great!", 2)] * N_ANSWERS


def test_pairs_have_their_rows_metrics_lines_and_place_in_the_report(project: Path) -> None:
    judges = ["ollama:llama3", "openai:tiny", "overlap"]
    with OllamaServer(answer=prefer_the_apple) as ollama, OpenAiServer(key=KEY, answer=prefer_the_apple) as openai:
        code, output, errors = run_stage(project, judges, ollama.host, openai.url, pairwise=True)
        assert code == 0, errors
        assert max(ollama.asked.values()) == max(openai.asked.values()) == 1
        n_asked = len(ollama.requests), len(openai.requests)
        first = written(project)
        code, again_output, _ = run_stage(project, judges, ollama.host, openai.url, pairwise=True)
        assert (code, again_output, written(project)) == (0, output, first)
        assert (len(ollama.requests), len(openai.requests)) == n_asked
    rows = json.loads(first["data/pairwise.json"])
    assert [row["judge"] for row in rows] == [judge for judge in judges[:2] for _ in range(N_PAIRS)]
    assert [(row["id"], row["variant"], row["winner"]) for row in rows[:4]] == [
        (0, "base", "base"), (0, "assistant", "assistant"), (1, "base", "assistant"), (1, "assistant", "assistant")
    ]  # fmt: skip
    assert len(json.loads(first["data/verdicts.json"])) == 3 * N_ANSWERS
    metrics = json.loads(first["metrics/judge_responses.json"])
    found = metrics["pairwise"]
    assert (found["wins"], found["ties"], found["losses"], found["win_rate"]) == (7, 1, 0, 93.75)
    assert (found["order_decided"], found["n"], found["n_judged"], found["coverage"]) == (12.5, 8, 8, 1)
    assert metrics["preferred_pairwise"]["losses"] == 7 and metrics["preferred_pairwise"]["ties"] == 1
    assert metrics["others"]["openai:tiny"]["pairwise"] == found
    assert "pairwise" not in metrics["others"]["overlap"]
    line = "  assistant win rate, %    93.75    81.25 to 100.00      8      7      1      0\n"
    assert output.count(line) == 2
    report = first["data/comparison.md"].decode()
    assert "better       ollama:llama3: tie (assistant against base)\n" in report
    assert "             -> base shown first: base: It names a fruit.\n" in report


def test_too_few_verdicts_of_pairs_fail_the_stage_which_leaves_every_row_behind(project: Path) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        prompt = request["messages"][0]["content"]
        return Reply("Both are great!") if "<answer-A-" in prompt else length_of_prompt(request)

    with OllamaServer(answer=answer) as server:
        code, output, errors = run_stage(project, ["ollama:llama3"], server.host, pairwise=True)
    *_, last = errors.splitlines()
    assert (code, "Traceback" in errors) == (1, False)
    assert last.startswith("judge_responses: error: the judge ollama:llama3 scored 0 of 32 comparisons (0.0%)")
    assert "32 failed: 32 parse_error" in last and "data/pairwise.json" in last
    assert "  base and assistant: 0 of 8 pairs judged\n" in output
    rows = json.loads((project / "data" / "pairwise.json").read_text())
    assert [(row["status"], row["winner"], row["attempts"]) for row in rows] == [("parse_error", None, 2)] * N_PAIRS
    metrics = json.loads((project / "metrics" / "judge_responses.json").read_text())
    assert (metrics["pairwise"]["n_judged"], metrics["assistant"]["coverage"]) == (0, 1)
    assert (
        "better       ollama:llama3: no verdict (preferred against assistant)"
        in (project / "data" / "comparison.md").read_text()
    )


@pytest.mark.parametrize("n_answered", [5, 30, 50])
def test_a_server_that_dies_before_or_amid_the_pairs_leaves_a_row_for_each_and_the_next_run_goes_on(
    project: Path, n_answered: int
) -> None:
    # One by one: the answers come before the pairs.
    env = {"SCRATCHLM_JUDGE_PATIENCE_S": "1", "SCRATCHLM_JUDGE_CONCURRENCY": "1"}
    with OllamaServer() as server:
        server.answer = lambda request: prefer_the_apple(request) if len(server.requests) <= n_answered else DROPPED
        code, _, errors = run_stage(project, ["ollama:llama3"], server.host, pairwise=True, **env)
        *_, last = errors.splitlines()
        assert (code, "Traceback" in errors) == (1, False)
        n_missing = N_ANSWERS + N_PAIRS - n_answered
        assert f"{n_answered} of 56 questions have a score, {n_missing} are missing. All rows are in" in last
        rows = [json.loads((project / "data" / name).read_text()) for name in ("verdicts.json", "pairwise.json")]
        assert [len(part) for part in rows] == [N_ANSWERS, N_PAIRS]
        assert [sum(row["status"] == "ok" for row in part) for part in rows] == [
            min(N_ANSWERS, n_answered), max(0, n_answered - N_ANSWERS)
        ]  # fmt: skip
        server.requests.clear()
        server.answer = prefer_the_apple
        code, _, errors = run_stage(project, ["ollama:llama3"], server.host, pairwise=True)
        assert code == 0, errors
        metrics = json.loads((project / "metrics" / "judge_responses.json").read_text())
        assert len(server.requests) == n_missing + metrics["probes"]["n"]
        assert metrics["pairwise"]["wins"] == 7


def test_a_cache_that_cannot_be_written_costs_one_line(project: Path) -> None:
    (project / "cache").write_text("a file where a folder should be")
    with OllamaServer(answer=length_of_prompt) as server:
        code, _, errors = run_stage(project, ["ollama:llama3"], server.host)
    assert code == 0
    assert errors.count("judge cache: ") == 1


def test_responses_that_were_edited_wrongly_end_in_one_line(project: Path) -> None:
    (project / "data" / "responses.json").write_text('[{"id": 1}]')
    code, _, errors = run_stage(project, ["overlap"])
    assert (code, len(errors.splitlines())) == (1, 1)
    assert errors.startswith("judge_responses: error: data/responses.json: 0.instruction: Field required")
