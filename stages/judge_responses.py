"""Have every answer scored against its reference, and compare the assistant with its base."""

import json
import os
from pathlib import Path

from scratchlm.curves import write_table
from scratchlm.errors import InputError
from scratchlm.files import write_json
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.summary import describe, require_coverage, score_histogram, summarise
from scratchlm.judging.verdicts import Judge, judge_responses
from scratchlm.metrics import write_metrics
from scratchlm.params import Params
from scratchlm.stage import run

RESPONSES = Path("data/responses.json")
VERDICTS = Path("data/verdicts.json")
SCORES = Path("data/plots/judge_scores.csv")
METRICS = Path("metrics/judge_responses.json")


def main(params: Params) -> None:
    entries = json.loads(RESPONSES.read_text(encoding="utf-8"))
    rows = judge_responses(entries, choose_judge(params))
    summary = summarise(rows, params.seed)
    write_json(VERDICTS, rows)
    write_table(SCORES, score_histogram(rows))
    write_metrics(METRICS, summary)
    print(describe(summary))
    require_coverage(rows, params.judge.min_coverage, VERDICTS)


def choose_judge(params: Params) -> Judge:
    settings = params.judge
    if settings.backend == "overlap":
        return OverlapJudge()
    from scratchlm.instructions import format_task

    try:
        from scratchlm.judging import ollama_judge  # late: the embedded scorer does without the client
    except ValueError as error:  # the client reads OLLAMA_HOST when it is imported
        host = os.environ.get("OLLAMA_HOST")
        raise InputError(f"OLLAMA_HOST is {host!r}, no address ({error}): set it as http://127.0.0.1:11434") from None
    return ollama_judge.connect(
        settings.model,
        temperature=settings.temperature,
        num_ctx=settings.num_ctx,
        seed=params.seed,
        format_task=lambda entry: format_task(entry, "alpaca"),  # what the book's judge is shown
    )


if __name__ == "__main__":
    run(main)
