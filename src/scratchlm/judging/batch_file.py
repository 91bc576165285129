"""Batch files: requests to judges for `vllm run-batch` and hosted batch APIs, and the results that come back.

Both are JSON lines in the format of OpenAI's Batch API. A request's `custom_id` is the key of its answer in the cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, NamedTuple

from scratchlm.assistant.instructions import AnsweredEntry
from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.text import bullets, one_line
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.backends.openai import OpenAiBackend, read_base_url
from scratchlm.judging.client import MAX_BODY_BYTES, MAX_ERROR_CHARS, Completion
from scratchlm.judging.comparison import RESPONSES
from scratchlm.judging.judges import LlmJudge, all_items, name_judge
from scratchlm.judging.verdicts import Verdict
from scratchlm.params.schema import JudgeParams

MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000  # of one file, for OpenAI
SHOWN_PROBLEMS = 5
# Hosted models answer under the name that they have for good: gpt-4o-mini-2024-07-18, gpt-3.5-turbo-0125.
DATED = r"(-\d{4}(-\d\d-\d\d)?)?"


class RequestFile(NamedTuple):
    """A file of requests to one model."""

    path: Path
    judge: str
    n_requests: int


@dataclass
class Imported:
    """What became of the lines of result files; `problems` names the lines that gave no answer, with the reason."""

    n_new: int = 0
    n_known: int = 0  # the same answer was there, in the cache or on an earlier line
    n_differing: int = 0  # another answer was there, which stays
    problems: list[str] = field(default_factory=list)
    n_lacking: int = 0  # questions that still have no answer

    def describe(self) -> str:
        """The counts as lines for the console."""
        lines = [f"{self.n_new:,} answers imported"]
        if self.n_known:
            lines.append(f"{self.n_known:,} were there already")
        if self.n_differing:
            lines.append(f"{self.n_differing:,} differ from the answer that was there first, which stays")
        if self.problems:
            lines.append(f"{len(self.problems):,} lines gave none:{bullets(self.problems, SHOWN_PROBLEMS)}")
        if self.n_lacking:
            lines.append(
                f"{self.n_lacking:,} questions still have no answer: `make repro` asks them of the server, --export "
                "writes them for another batch (where an answer held no score, a second question asks for it)"
            )
        else:
            lines.append("no question is left: `make repro` judges without asking anybody")
        return "\n".join(lines)


class BadLine(Exception):
    """A line of a result file that gives no answer, and why."""


def export_requests(
    out: Path, entries: Sequence[AnsweredEntry], settings: JudgeParams, seed: int, cache: AnswerCache
) -> list[RequestFile]:
    """Write what the cache lacks of the judges on servers with OpenAI's API, in the order in which they are asked.

    There is one file, or several numbered ones: each holds requests to one model, at most 50,000 and 200 MB. Older
    files of requests are replaced. All are written, or none if one cannot be, or nothing is lacking. Raises InputError
    if there is no such judge, or something else has the name of one of the files.
    """
    written: list[RequestFile] = []
    with ExitStack() as targets, ExitStack() as files:  # all files are whole before the first one takes its name
        for judge, backend in named_judges(settings, seed, cache):
            file: BinaryIO | None = None
            n_requests = n_bytes = 0
            for question in judge.lacking(all_items(entries, settings, seed)):
                body = backend.body(question.text, question.schema, "max_completion_tokens")
                request = {"custom_id": question.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
                line = json.dumps(request).encode() + b"\n"
                if file is None or n_requests == MOST_REQUESTS or n_bytes + len(line) > MOST_BYTES:
                    number = len(written) + 1
                    path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
                    temporary = targets.enter_context(atomic_path(path))
                    check_replaceable(path)
                    file = files.enter_context(temporary.open("wb"))
                    n_requests = n_bytes = 0
                    written.append(RequestFile(path, judge.name, 0))
                file.write(line)
                n_requests, n_bytes = n_requests + 1, n_bytes + len(line)
                written[-1] = written[-1]._replace(n_requests=n_requests)
    return written


def check_replaceable(path: Path) -> None:
    """Raise InputError if something is there that is no file of requests, such as the results of a batch."""
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is in the way: a file is to be written there; move it elsewhere")
    with path.open("rb") as file:
        line = file.readline(MAX_BODY_BYTES)
    try:
        replaceable = not line or is_request(json.loads(line))
    except (ValueError, RecursionError):
        replaceable = False
    if not replaceable:
        raise InputError(f"{path} is there and holds no requests, so it stays: move it elsewhere, or give another name")


def is_request(found: Any) -> bool:
    """Tell a line of a file of requests from anything else, results above all."""
    return isinstance(found, dict) and {"custom_id", "method"} <= found.keys()


def describe_files(files: Sequence[RequestFile], address: str) -> str:
    """What was written and what to do with it as lines for the console; `address` is that of the judges' server."""
    if not files:
        return "nothing to ask: the cache holds all answers, `make repro` judges without asking anybody"
    lines = [f"{file.path}: {file.n_requests:,} questions to {file.judge}" for file in files]
    first = files[0]
    path, model = quote(str(first.path)), quote(first.judge.removeprefix("openai:"))
    lines += [
        f"Have {'it' if len(files) == 1 else 'each of them'} answered by a batch API, or as in",
        f"  vllm run-batch -i {path} -o results.jsonl --model {model}",
        "  scratchlm judge --import results.jsonl",
        f"The answers count for {address}: keep OPENAI_BASE_URL, params.yaml and {RESPONSES} as they are until then.",
    ]
    last = first.path.with_name(f"{first.path.stem}-{len(files) + 1}{first.path.suffix}")
    if last.exists():
        lines.append(f"{last} is older and no part of this")
    return "\n".join(lines)


def import_results(
    paths: Sequence[Path], entries: Sequence[AnsweredEntry], settings: JudgeParams, seed: int, cache: AnswerCache
) -> Imported:
    """Put the answers in result files into the cache, all of them at once, and count what came and what is lacking.

    Into the cache comes what answers a question of today's judges in full: not what failed, was cut or is empty. Of
    several answers to one question the first one stays. Raises InputError, with the cache as it was, if a file cannot
    be read, no line is an answer, or there is no judge to ask.
    """
    judges = named_judges(settings, seed, cache)
    by_key = {
        question.key: backend
        for judge, backend in judges
        for item in all_items(entries, settings, seed)
        for question in judge.questions(Verdict(*item))
    }
    found = Imported()
    given: dict[str, int] = {}  # on earlier lines: the hash of what was said

    def answers() -> Iterator[tuple[str, str, Completion]]:
        for place, line in read_lines(paths):
            try:
                key, completion = read_result(line, by_key)
            except BadLine as problem:
                found.problems.append(f"{place}: {problem}")
                continue
            there = cache.get(key)
            earlier = given.get(key) if there is None else hash(there.text)
            if earlier is None:
                found.n_new += 1
                given[key] = hash(completion.text)
                yield key, f"openai:{by_key[key].model}", completion
            elif earlier == hash(completion.text):
                found.n_known += 1
            else:
                found.n_differing += 1

    cache.put_all(answers())
    if not found.n_new + found.n_known + found.n_differing:
        wanted = "wanted what `vllm run-batch` or a batch API made of the requests of `scratchlm judge --export`"
        if not found.problems:
            raise InputError(f"no lines in {', '.join(map(str, paths))}; {wanted}")
        raise InputError(
            f"no line is an answer to what these judges ask; {wanted}{bullets(found.problems, SHOWN_PROBLEMS)}"
        )
    found.n_lacking = sum(1 for judge, _ in judges for _ in judge.lacking(all_items(entries, settings, seed)))
    return found


def named_judges(settings: JudgeParams, seed: int, cache: AnswerCache) -> list[tuple[LlmJudge, OpenAiBackend]]:
    """Make the judges that a batch can ask, with their backends; raise InputError if judge.judges has none."""
    names = [name for name in settings.judges if name.startswith("openai:")]
    if not names:
        raise InputError(
            f"judge.judges is {', '.join(settings.judges)}, wanted an openai:MODEL among them: overlap is computed "
            "here, and Ollama takes no batches"
        )
    return [name_judge(name, settings, seed, cache) for name in names]


def read_lines(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of files that are not blank, each with its place; of one that is too long, only its beginning."""
    for path in paths:
        try:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_BODY_BYTES + 1):
                    number += 1
                    rest = line
                    while len(rest) > MAX_BODY_BYTES and not rest.endswith(b"\n"):
                        rest = file.readline(MAX_BODY_BYTES + 1)
                    if line.strip():
                        yield f"{path}, line {number}", line
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}), wanted the results of a batch") from None


def read_result(line: bytes, asked: Mapping[str, OpenAiBackend]) -> tuple[str, Completion]:
    """Read a line of a result file: its key, one of those `asked`, and the whole answer; raise BadLine otherwise."""
    if len(line) > MAX_BODY_BYTES:
        raise BadLine(f"longer than {MAX_BODY_BYTES:,} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine(f"not JSON: {shown(line.decode('utf-8', 'replace'))}") from None
    if not isinstance(found, dict) or "custom_id" not in found:
        raise BadLine(f"no result, which has a custom_id: {shown(found)}")
    if is_request(found):
        raise BadLine("a request, not its result")
    key = found["custom_id"]
    if not isinstance(key, str) or key not in asked:
        raise BadLine(
            f"custom_id {shown(key)} is no question of today's params, answers and OPENAI_BASE_URL (now "
            f"{read_base_url()})"
        )
    response = found.get("response") or {}
    try:
        if error := found.get("error") or response["status_code"] != 200:
            body = response.get("body")
            raise BadLine(f"failed: {shown(body if error is True else error)}")
        body = response["body"]
        model, backend = body["model"], asked[key]
        if not re.fullmatch(re.escape(backend.model) + DATED, model):
            raise BadLine(f"answered by {shown(model)}, wanted {backend.model}")
        completion = backend.read(body)
    except (LookupError, TypeError, AttributeError) as problem:
        raise BadLine(f"no chat completion ({type(problem).__name__}: {problem}): {shown(response)}") from None
    if completion.finish == "length":
        raise BadLine(f"cut after {completion.answer_tokens} tokens (judge.max_answer_tokens)")
    if not completion.text.strip():
        raise BadLine("an empty answer")
    return key, replace(completion, latency_s=None)


def shown(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value), MAX_ERROR_CHARS)
