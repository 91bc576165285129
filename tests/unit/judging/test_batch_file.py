"""Batches: requests written, answered by a runner and read back, with lines missing, doubled, wrong and failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from answered import answered
from openai_server import OpenAiServer
from scripted_server import BUSY, CUT, NOTHING, Reply

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.cli import cli
from scratchlm.errors import InputError
from scratchlm.judging import batch_file
from scratchlm.judging.answer_cache import AnswerCache, cache_path
from scratchlm.judging.judges import judge_by_all
from scratchlm.params.schema import JudgeParams

REPOSITORY = Path(__file__).parents[3]
FRUIT = ("apple", "pear", "plum", "cherry")
N_SCORES = len(VARIANTS) * len(FRUIT)
N_PAIRS = 4 * len(FRUIT)  # two comparisons in two orders
MODEL = "tiny"
ADDRESS = "http://127.0.0.1:9/v1"  # where nothing listens

Line = dict[str, Any]


def answer(request: dict[str, Any]) -> Reply:
    prompt = request["messages"][0]["content"]
    if "<answer-A-" in prompt:
        return Reply('{"reason": "It names a fruit.", "verdict": "A"}')
    return Reply(str(len(prompt) % 101))


def run_batch(requests: Path, results: Path, server: OpenAiServer) -> list[Line]:
    """Answer a file of requests as `vllm run-batch` does: one line for each, failures among them."""
    lines = []
    for number, text in enumerate(requests.read_text(encoding="utf-8").splitlines()):
        request = json.loads(text)
        assert list(request) == ["custom_id", "method", "url", "body"]
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        body = json.dumps(request["body"]).encode()
        post = urllib.request.Request(f"{server.host}{request['url']}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(post, timeout=20) as reply:
                status, said, error = 200, json.loads(reply.read()), None
        except urllib.error.HTTPError as failure:
            status, said, error = failure.code, None, json.loads(failure.read())
        response = {"status_code": status, "request_id": f"vllm-batch-{number}", "body": said}
        lines.append({"id": f"vllm-{number}", "custom_id": request["custom_id"], "response": response, "error": error})
    write(results, lines)
    return lines


def write(path: Path, lines: list[Line]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


SETTINGS = JudgeParams(
    judges=[f"openai:{MODEL}"],
    prompt="book",
    pairwise=True,
    temperature=0,
    num_ctx=2048,
    max_answer_tokens=256,
    probes=0,
    min_coverage=1,
)
ENTRIES: Any = [
    answered(n, f"Which fruit, {n}", f"It is the {name}.", f"Gladly: the {name}.", output=f"The {name} it is.")
    for n, name in enumerate(FRUIT)
]


class Batch:
    """The judge's cache in a folder, with what goes out of it and comes in, and the server that plays the runner."""

    def __init__(self, folder: Path, server: OpenAiServer) -> None:
        self.server = server
        self.requests, self.results = folder / "requests.jsonl", folder / "results.jsonl"
        self.cache = AnswerCache(folder / "answers.sqlite")

    def export(self, settings: JudgeParams = SETTINGS) -> list[batch_file.RequestFile]:
        return batch_file.export_requests(self.requests, ENTRIES, settings, 123, self.cache)

    def answer(self) -> list[Line]:
        return run_batch(self.requests, self.results, self.server)

    def take(self, *lines: Line | str) -> batch_file.Imported:
        """Import these lines as a file."""
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        self.results.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return batch_file.import_results([self.results], ENTRIES, SETTINGS, 123, self.cache)


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    monkeypatch.setenv("OPENAI_BASE_URL", ADDRESS)
    with OpenAiServer(answer=answer) as server:
        yield Batch(tmp_path, server)


def test_a_batch_holds_each_question_of_the_stage_once_and_the_same_bytes_each_time(batch: Batch) -> None:
    (written,) = batch.export()
    assert written == (batch.requests, f"openai:{MODEL}", N_SCORES + N_PAIRS)
    lines = [json.loads(line) for line in batch.requests.read_bytes().splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines) == N_SCORES + N_PAIRS
    assert all(line["body"]["max_completion_tokens"] == 256 for line in lines)
    first = batch.requests.read_bytes()
    twice = [*ENTRIES, ENTRIES[0] | {"id": 99}]
    batch_file.export_requests(batch.requests, twice, SETTINGS, 123, batch.cache)
    assert batch.requests.read_bytes() == first
    batch.export()
    assert batch.requests.read_bytes() == first
    assert batch.take(*batch.answer()).n_new == N_SCORES + N_PAIRS  # the server accepts every body
    assert batch.export() == []


def test_after_words_without_a_score_the_next_batch_holds_the_second_question_alone(batch: Batch) -> None:
    batch.export()
    batch.server.replies = [Reply("Good!")]
    assert batch.take(*batch.answer()).n_lacking == 1
    (written,) = batch.export()
    assert written.n_requests == 1
    assert "Respond with one integer" in batch.requests.read_text()
    assert (found := batch.take(*batch.answer())).n_new == 1 and found.n_lacking == 0


def test_missing_lines_are_counted_and_asked_again(batch: Batch) -> None:
    batch.export()
    *_, last = lines = batch.answer()
    found = batch.take(*lines[:-1])
    assert (found.n_new, found.n_lacking) == (len(lines) - 1, 1)
    assert "1 questions still have no answer" in found.describe()
    batch.export()
    assert [json.loads(line)["custom_id"] for line in batch.requests.open()] == [last["custom_id"]]


def test_of_doubled_lines_and_of_those_in_the_cache_the_first_answer_stays(batch: Batch) -> None:
    batch.export()
    lines = batch.answer()
    other = json.loads(json.dumps(lines[0]))
    other["response"]["body"]["choices"][0]["message"]["content"] = "100"
    found = batch.take(lines[0], lines[0], other, lines[1])
    assert (found.n_new, found.n_known, found.n_differing) == (2, 1, 1)
    found = batch.take(other, lines[1], lines[2])
    assert (found.n_new, found.n_known, found.n_differing) == (1, 1, 1)
    assert "1 differ from the answer that was there first, which stays" in found.describe()
    kept = batch.cache.get(lines[0]["custom_id"])
    assert kept and kept.text == lines[0]["response"]["body"]["choices"][0]["message"]["content"] != "100"


def changed(line: Line, **response: Any) -> Line:
    return line | {"response": line["response"] | response}


def said(line: Line, **choice: Any) -> Line:
    body = line["response"]["body"]
    return changed(line, body=body | {"choices": [body["choices"][0] | choice]})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda line: json.dumps(line)[:-20], 'line 2: not JSON: {"id": '),
        (lambda line: "[1, 2]", "line 2: no result, which has a custom_id: [1, 2]"),
        (
            lambda line: line | {"custom_id": "request-7"},
            f"custom_id request-7 is no question of today's params, answers and OPENAI_BASE_URL (now {ADDRESS})",
        ),
        (lambda line: line | {"custom_id": ["7"]}, "line 2: custom_id"),
        (lambda line: changed(line, status_code=500, body={"error": {"message": "out of memory"}}), "out of memory"),
        (lambda line: changed(line, status_code=500, body=None), "line 2: failed: null"),
        (lambda line: line | {"response": None, "error": {"code": "batch_expired"}}, 'failed: {"code": "batch_exp'),
        (lambda line: line | {"error": "lost"}, "line 2: failed: lost"),
        (
            lambda line: {"custom_id": line["custom_id"], "method": "POST", "url": "/v1/chat/completions", "body": {}},
            "line 2: a request, not its result",
        ),
        (lambda line: line | {"response": None}, "line 2: no chat completion (KeyError"),
        (lambda line: line | {"response": 7}, "line 2: no chat completion (TypeError"),
        (lambda line: changed(line, body={"model": MODEL, "choices": []}), "line 2: no chat completion (IndexError"),
        (lambda line: said(line, message={"content": 85}), "line 2: no chat completion (TypeError"),
        (lambda line: changed(line, body=line["response"]["body"] | {"model": "tiny-mini"}), "answered by tiny-mini"),
        (lambda line: said(line, finish_reason="length"), "line 2: cut after 3 tokens (judge.max_answer_tokens)"),
        (lambda line: said(line, message={"content": " \n"}), "line 2: an empty answer"),
        (lambda line: said(line, message={"content": None}), "line 2: an empty answer"),
        (lambda line: f"{json.dumps(line)}{'x' * 2 * batch_file.MAX_BODY_BYTES}", "line 2: longer than"),
    ],
)
def test_a_spoilt_line_is_named_and_kept_out_while_the_others_are_taken(
    batch: Batch, spoil: Callable[[Line], Line | str], reason: str
) -> None:
    batch.export()
    lines = batch.answer()
    found = batch.take(lines[0], spoil(lines[1]), *lines[2:])
    assert (found.n_new, found.n_lacking) == (len(lines) - 1, 1)
    (problem,) = found.problems
    assert reason in problem and problem in found.describe()
    assert batch.cache.get(lines[1]["custom_id"]) is None
    assert batch.take(lines[1]).n_lacking == 0


def test_a_runner_whose_server_fails_leaves_those_answers_out(batch: Batch) -> None:
    batch.export()
    batch.server.replies = [BUSY, CUT, NOTHING]
    found = batch.take(*batch.answer())
    assert (len(found.problems), found.n_new, found.n_lacking) == (3, N_SCORES + N_PAIRS - 3, 3)
    assert "server busy" in found.problems[0]


def test_the_name_of_a_hosted_model_may_carry_its_date(batch: Batch) -> None:
    batch.export()
    lines = batch.answer()
    for number, name in enumerate(("tiny-2024-07-18", "tiny-0125")):
        lines[number]["response"]["body"]["model"] = name
    assert not batch.take(*lines).problems


def test_half_a_character_is_replaced(batch: Batch) -> None:
    batch.export()
    (line, *_) = batch.answer()
    assert batch.take(said(line, message={"content": "85 \ud83d"})).n_new == 1


@pytest.mark.parametrize("text", ["", "\n", "<html>\n<body>\n", '{"error": "no such batch"}\n'])
def test_a_file_without_an_answer_is_refused(batch: Batch, text: str) -> None:
    batch.results.write_text(text)
    problem = (
        "no line is an answer to what these judges ask" if text.strip() else r"^no lines in .*results\.jsonl; wanted"
    )
    with pytest.raises(InputError, match=problem):
        batch_file.import_results([batch.results], ENTRIES, SETTINGS, 123, batch.cache)
    assert batch.cache.count() == 0


def test_an_empty_file_beside_others_changes_nothing(batch: Batch, tmp_path: Path) -> None:
    batch.export()
    batch.answer()
    (empty := tmp_path / "failed.jsonl").touch()
    found = batch_file.import_results([empty, batch.results], ENTRIES, SETTINGS, 123, batch.cache)
    assert (found.n_new, found.n_lacking) == (N_SCORES + N_PAIRS, 0)


def test_a_file_that_cannot_be_read_leaves_the_cache_as_it_was(batch: Batch, tmp_path: Path) -> None:
    batch.export()
    lines = batch.answer()
    for unreadable in (tmp_path / "gone.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            batch_file.import_results([batch.results, unreadable], ENTRIES, SETTINGS, 123, batch.cache)
        assert batch.cache.count() == 0
    assert batch.take(*lines).n_new == len(lines)  # and it can be tried again


def test_with_all_answers_imported_nobody_is_asked_nor_looked_for(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "own"))
    batch.cache = AnswerCache(cache_path())
    settings = SETTINGS.model_copy(update={"probes": 2})
    batch.export(settings)
    *most, last = batch.answer()
    write(batch.results, most)
    assert batch_file.import_results([batch.results], ENTRIES, settings, 123, batch.cache).n_lacking == 1
    with pytest.raises(InputError, match="no OpenAI-compatible server lets us in"):
        judge_by_all(ENTRIES, settings, 123)
    write(batch.results, [last])
    assert batch_file.import_results([batch.results], ENTRIES, settings, 123, batch.cache).n_lacking == 0
    batch.server.requests.clear()
    for address in (ADDRESS, batch.server.url):
        if address == batch.server.url:  # answers of another server are none of this one's
            monkeypatch.setenv("OPENAI_BASE_URL", address)
        verdicts, pairs, probes, gone = judge_by_all(ENTRIES, settings, 123)
        rows = [*verdicts[f"openai:{MODEL}"], *pairs[f"openai:{MODEL}"]]
        assert not gone and {row["status"] for row in rows} == {"ok"} and probes[f"openai:{MODEL}"]
        assert bool(batch.server.requests) == (address == batch.server.url)


def test_many_requests_are_split_into_numbered_files(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    batch.export()
    whole = batch.requests.read_bytes()
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 10)
    written = batch.export()
    assert [(file.path.name, file.n_requests) for file in written] == [
        ("requests.jsonl", 10), ("requests-2.jsonl", 10), ("requests-3.jsonl", 8)
    ]  # fmt: skip
    assert b"".join(file.path.read_bytes() for file in written) == whole
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 15)
    assert "requests-3.jsonl is older and no part of this" in batch_file.describe_files(batch.export(), ADDRESS)
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 50_000)
    monkeypatch.setattr(batch_file, "MOST_BYTES", 9_000)
    written = batch.export()
    assert all(file.path.stat().st_size <= 9_000 for file in written) and len(written) > 2
    assert b"".join(file.path.read_bytes() for file in written) == whole


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("a folder", r"requests-2\.jsonl is in the way: a file is to be written there"),
        ("results", r"requests-2\.jsonl is there and holds no requests, so it stays: move it elsewhere"),
        ("a table", r"requests-2\.jsonl is there and holds no requests, so it stays: move it elsewhere"),
    ],
)
def test_what_is_no_file_of_requests_is_kept_and_nothing_is_written(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, what: str, problem: str
) -> None:
    batch.export()
    answered_lines = batch.answer()
    batch.requests.unlink()
    second = batch.requests.with_name("requests-2.jsonl")
    if what == "a folder":
        second.mkdir()
    elif what == "results":
        write(second, answered_lines)
    else:
        second.write_bytes(b"id,score\n\xff,1\n")
    before = sorted(batch.requests.parent.iterdir()), second.is_file() and second.read_bytes()
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 10)
    with pytest.raises(InputError, match=problem):
        batch.export()
    assert (sorted(batch.requests.parent.iterdir()), second.is_file() and second.read_bytes()) == before


def test_an_older_or_empty_file_is_replaced(batch: Batch) -> None:
    batch.requests.touch()
    batch.export()
    first = batch.requests.read_bytes()
    batch.requests.write_bytes(first.splitlines(keepends=True)[-1])
    batch.export()
    assert batch.requests.read_bytes() == first


def test_no_file_is_there_before_all_are_whole(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 10)
    sizes: list[list[int]] = []

    def flush(path: Path) -> None:  # the last thing before a file takes its name
        sizes.append([file.stat().st_size for file in path.parent.glob(".requests*.jsonl")] if path.is_file() else [])

    monkeypatch.setattr("scratchlm.files.atomic.flush", flush)
    written = batch.export()
    assert sum(sizes[0]) == sum(file.path.stat().st_size for file in written) and len(sizes[0]) == len(written) == 3


def test_each_model_has_files_of_its_own(batch: Batch) -> None:
    names = ["openai:tiny", "ollama:llama3", "openai:small", "overlap"]
    written = batch.export(SETTINGS.model_copy(update={"judges": names}))
    assert [file.judge for file in written] == ["openai:tiny", "openai:small"]
    for file in written:
        models = {json.loads(line)["body"]["model"] for line in file.path.open()}
        assert models == {file.judge.removeprefix("openai:")}


def test_without_a_judge_that_takes_batches_there_is_nothing_to_write(batch: Batch) -> None:
    with pytest.raises(InputError, match=r"judge\.judges is overlap, ollama:x, wanted an openai:MODEL among them"):
        batch.export(SETTINGS.model_copy(update={"judges": ["overlap", "ollama:x"]}))
    assert not batch.requests.exists()


class Project:
    """A folder as generate_responses leaves it; the judge is a model that nobody serves."""

    def __init__(self, folder: Path, judges: tuple[str, ...] = (f"openai:{MODEL}",)) -> None:
        self.folder = folder
        (folder / "data" / "instructions").mkdir(parents=True)
        learnt = [{"instruction": "Name a fruit.", "input": "", "output": "The apple it is."}]
        (folder / "data" / "instructions" / "train.json").write_text(json.dumps(learnt))
        (folder / "data" / "responses.json").write_text(json.dumps(ENTRIES))
        params = (REPOSITORY / "profiles" / "sample.yaml").read_text(encoding="utf-8")
        assert "  - overlap\n" in params and "  pairwise: false\n" in params
        params = params.replace("  - overlap\n", "".join(f"  - {name}\n" for name in judges))
        (folder / "params.yaml").write_text(params.replace("  pairwise: false\n", "  pairwise: true\n"))

    def run(self, *command: str, url: str = ADDRESS) -> subprocess.CompletedProcess[str]:
        own = {"SCRATCHLM_CACHE": str(self.folder / "cache"), "OPENAI_BASE_URL": url, "OPENAI_API_KEY": ""}
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=os.environ | own | {"SCRATCHLM_JUDGE_PATIENCE_S": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def judge(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("scratchlm.cli", "judge", *map(str, options))

    def stage(self, url: str = ADDRESS) -> subprocess.CompletedProcess[str]:
        return self.run("scratchlm.stage", str(REPOSITORY / "stages" / "judge_responses.py"), url=url)

    def statuses(self) -> list[str]:
        rows = [json.loads((self.folder / "data" / name).read_text()) for name in ("verdicts.json", "pairwise.json")]
        return [row["status"] for part in rows for row in part]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_the_stage_asks_only_what_a_batch_left_and_nobody_once_all_is_imported(project: Project) -> None:
    done = project.judge("--export", "requests.jsonl")
    assert done.returncode == 0, done.stderr
    n_asked = len((project.folder / "requests.jsonl").read_text().splitlines())
    assert f"requests.jsonl: {n_asked} questions to openai:tiny" in done.stdout
    assert f"The answers count for {ADDRESS}" in done.stdout
    with OpenAiServer(answer=answer) as server:
        lines = run_batch(project.folder / "requests.jsonl", project.folder / "results.jsonl", server)
    write(project.folder / "results.jsonl", lines[3:])
    done = project.judge("--import", "results.jsonl")
    assert done.returncode == 0 and "3 questions still have no answer" in done.stdout
    done = project.stage()  # without a server
    assert done.returncode == 1 and "no OpenAI-compatible server lets us in" in done.stderr
    write(project.folder / "rest.jsonl", lines[:3])
    done = project.judge("--import", "results.jsonl", "rest.jsonl")
    assert "3 answers imported" in done.stdout and "no question is left" in done.stdout
    done = project.stage()  # nobody is asked, as nobody is there
    assert done.returncode == 0, done.stderr
    assert set(project.statuses()) == {"ok"}
    assert len(project.statuses()) == N_SCORES + N_PAIRS
    done = project.judge("--export", "again.jsonl")
    assert done.stdout.startswith("nothing to ask") and not (project.folder / "again.jsonl").exists()
    assert "openai:tiny\t" in (shown := project.judge("--show-cache").stdout) and "by batches" in shown


def test_import_may_be_given_several_times(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("SCRATCHLM_CACHE", "cache")
    for number in range(3):
        (project.folder / f"{number}.jsonl").write_text(f'{{"custom_id": "{number}"}}\n')
    with pytest.raises(InputError, match=r"(?s)- 0\.jsonl, line 1: .*- 1\.jsonl, line 1: .*- 2\.jsonl, line 1: "):
        cli(["judge", "--import", "0.jsonl", "--import", "1.jsonl", "2.jsonl"], standalone_mode=False)


@pytest.mark.slow
def test_the_server_is_asked_for_the_rest_alone(project: Project) -> None:
    with OpenAiServer(answer=answer) as server:
        done = project.run("scratchlm.cli", "judge", "--export", "requests.jsonl", url=server.url)
        assert done.returncode == 0, done.stderr
        lines = run_batch(project.folder / "requests.jsonl", project.folder / "results.jsonl", server)
        write(project.folder / "results.jsonl", lines[5:])
        project.run("scratchlm.cli", "judge", "--import", "results.jsonl", url=server.url)
        server.requests.clear()
        assert project.stage(server.url).returncode == 0
        assert len(server.requests) == 5
        server.requests.clear()
        assert project.stage(server.url).returncode == 0 and not server.requests


def test_the_command_says_what_is_wrong_in_one_line(project: Project) -> None:
    for options, message in (
        (("--export", "a", "--import", "b"), "give one of --export, --import"),
        (("--export", "a", "b"), "got b: only --import takes further files"),
        (("--export", ""), "got '.', which names no file or folder to write"),
        (("--import", "gone.jsonl"), "gone.jsonl cannot be read (No such file or directory)"),
    ):
        done = project.judge(*options)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert message in done.stderr
    assert not (project.folder / "a").exists()
