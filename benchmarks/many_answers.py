"""Processor seconds and memory of judging 100,000 answers beside 10,000: a ratio above 10 grows faster than they do.

python benchmarks/many_answers.py                         some minutes; --answers 1000 10000 is quicker

In a clone of what is committed, with made-up answers: the stage with the judge `overlap`; a batch for a language model
that compares pairs too, its results imported, and the stage with both judges; two such results compared; the report.
Each is a process of its own, as a user starts it. Answers are 20 words long, as long as the book's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
VARIANTS = ("base", "assistant", "preferred")
WORDS = 2_000  # different ones
ANSWER_WORDS = 20
MODEL = "made-up"
MOST_PAGE_BYTES = 1_000_000  # of the report, however many answers
STAGE = ("scratchlm.stage", "stages/judge_responses.py")
CLI = "scratchlm.cli"
COMPARE = """
from pathlib import Path
from scratchlm.judging.comparison import Judged, compare
from scratchlm.judging.responses import read_responses
from scratchlm.files.text import read_json
entries, rows = read_responses(Path("data/responses.json")), read_json(Path("data/verdicts.json"), "rows")
compare(Judged("one", entries, rows), Judged("other", entries, rows))
"""


class Cost(NamedTuple):
    """What a process took."""

    seconds: float
    peak_mb: float


def make_entries(n_answers: int) -> list[dict[str, object]]:
    """Make entries with three answers each, which share some words with their references."""
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=generator.randint(2, 9))) for _ in range(WORDS)]

    def text(known: list[str]) -> str:
        return " ".join(generator.choices(words, k=ANSWER_WORDS - len(known)) + known).capitalize() + "."

    entries = []
    for number in range(n_answers // len(VARIANTS)):
        reference = generator.choices(words, k=ANSWER_WORDS)
        entry: dict[str, object] = {"id": number, "instruction": text([]), "input": text([]) if number % 2 else ""}
        entry["output"] = " ".join(reference).capitalize() + "."
        for share, variant in enumerate(VARIANTS):
            answer = text(reference[: 8 * share])
            entry[variant] = {"text": answer, "finish": "stop", "tokens": ANSWER_WORDS}
        entries.append(entry)
    return entries


def answer_requests(project: Path) -> list[str]:
    """Answer the requests of a project as a batch runner does; return the names of the result files."""
    generator = random.Random(2)
    names = []
    for requests in sorted(project.glob("requests*.jsonl")):
        names.append(requests.name.replace("requests", "results"))
        with requests.open() as asked, (project / names[-1]).open("w") as results:
            for line in asked:
                request = json.loads(line)
                verdict = json.dumps({"reason": "It has more of the words.", "verdict": generator.choice("AB")})
                said = verdict if "response_format" in request["body"] else str(generator.randint(0, 100))
                choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                body = {"model": MODEL, "choices": [choice]}
                response = {"status_code": 200, "body": body}
                results.write(
                    json.dumps({"id": "1", "custom_id": request["custom_id"], "response": response, "error": None})
                )
                results.write("\n")
    return names


def run(project: Path, *command: str) -> Cost:
    """Run Python with this command in a project and return what it took."""
    own = {"SCRATCHLM_CACHE": str(project / "cache"), "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "TQDM_DISABLE": "1"}
    environment = os.environ | own | {"PYTHONPATH": str(project / "src")}
    running = subprocess.Popen([sys.executable, *command], cwd=project, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def choose_judges(project: Path, *judges: str) -> None:
    """Let a project have these judges; one that is a language model compares pairs too."""
    params = (project / "profiles/sample.yaml").read_text()
    assert "  - overlap\n" in params and "  pairwise: false\n" in params
    params = params.replace("  - overlap\n", "".join(f"  - {judge}\n" for judge in judges))
    if len(judges) > 1:
        params = params.replace("  pairwise: false\n", "  pairwise: true\n")
    (project / "params.yaml").write_text(params)


def note_outputs(project: Path) -> None:
    """Let dvc.lock name the made-up answers and their scores, or the report would leave them out."""
    yaml = YAML()
    lock = yaml.load(project / "dvc.lock")
    for stage in ("generate_responses", "judge_responses"):
        for out in lock["stages"][stage]["outs"]:
            if (path := project / out["path"]).is_file():
                out["md5"], out["size"] = hashlib.md5(path.read_bytes()).hexdigest(), path.stat().st_size
    yaml.dump(lock, project / "dvc.lock")


def measure(n_answers: int, folder: Path) -> dict[str, Cost]:
    """Measure each part with so many answers."""
    project = folder / str(n_answers)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
    (project / "data/instructions").mkdir(parents=True)
    train = [{"instruction": "Say it.", "input": "", "output": "It."}]
    (project / "data/instructions/train.json").write_text(json.dumps(train))
    (project / "data/responses.json").write_text(json.dumps(make_entries(n_answers)))
    choose_judges(project, "overlap")
    found = {"the stage, overlap": run(project, "-m", *STAGE)}
    choose_judges(project, "overlap", f"openai:{MODEL}")
    found["judge --export"] = run(project, "-m", CLI, "judge", "--export", "requests.jsonl")
    results = answer_requests(project)
    found["judge --import"] = run(project, "-m", CLI, "judge", "--import", *results)
    found["the stage, both, with pairs"] = run(project, "-m", *STAGE)
    found["two results compared"] = run(project, "-c", COMPARE)
    note_outputs(project)
    found["report"] = run(project, "-m", CLI, "report")
    page = (project / "report.html").read_text()
    assert f"10 of the {n_answers // len(VARIANTS):,} test entries" in page and len(page) < MOST_PAGE_BYTES
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--answers", type=int, nargs=2, default=(10_000, 100_000), help="how many, few and many")
    few, many = parser.parse_args().answers
    with tempfile.TemporaryDirectory() as name:
        first, second = (measure(n_answers, Path(name)) for n_answers in (few, many))
    print(f"{'':30}{few:>12,} answers{many:>12,} answers   {many / few:.0f} times as many take")
    for part, one in first.items():
        other = second[part]
        print(
            f"{part:30}{one.seconds:9.1f} s{one.peak_mb:6.0f} MB{other.seconds:9.1f} s{other.peak_mb:6.0f} MB"
            f"   {other.seconds / one.seconds:.1f} times the seconds"
        )


if __name__ == "__main__":
    main()
