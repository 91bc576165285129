"""Have every answer scored against its reference, compare the assistant with its base, and test the judges."""

from contextlib import ExitStack
from pathlib import Path

from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json, write_text
from scratchlm.judging.answer_cache import AnswerCache, cache_path
from scratchlm.judging.backend import read_seconds
from scratchlm.judging.entries import read_responses
from scratchlm.judging.judges import open_judge
from scratchlm.judging.patience import DEFAULT_PATIENCE_S
from scratchlm.judging.probes import probe_items
from scratchlm.judging.report import write_report
from scratchlm.judging.summary import describe, require_coverage, score_histogram, summarise
from scratchlm.judging.verdicts import Row, ServerGone, judge_items, judge_responses, read_concurrency
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table

RESPONSES = Path("data/responses.json")
VERDICTS = Path("data/verdicts.json")
SCORES = Path("data/plots/judge_scores.csv")
COMPARISON = Path("data/comparison.md")
METRICS = Path("metrics/judge_responses.json")


def main(params: Params) -> None:
    settings = params.judge
    entries = read_responses(RESPONSES)
    probes = probe_items(entries, settings.probes, params.seed)
    concurrency = read_concurrency()
    patience_s = read_seconds("SCRATCHLM_JUDGE_PATIENCE_S", DEFAULT_PATIENCE_S)
    verdicts: dict[str, list[Row]] = {}
    verdicts_of_probes: dict[str, list[Row]] = {}
    gone: list[ServerGone] = []
    with AnswerCache(cache_path()) as cache, ExitStack() as opened:
        # All of them before the first question: a missing model shows itself at once.
        judges = [opened.enter_context(open_judge(name, settings, params.seed, cache)) for name in settings.judges]
        for judge in judges:
            try:
                verdicts[judge.name] = judge_responses(entries, judge, concurrency, patience_s)
                verdicts_of_probes[judge.name] = judge_items(probes, judge, concurrency, patience_s, "probes")
            except ServerGone as server:
                gone.append(server)
                verdicts.setdefault(judge.name, server.rows)  # unless it was the probes that it left out
    summary = summarise(verdicts, verdicts_of_probes, entries, params.seed)
    write_json(VERDICTS, [row for rows in verdicts.values() for row in rows])
    write_table(SCORES, score_histogram(verdicts[settings.judges[0]]))
    write_text(COMPARISON, write_report(entries, verdicts, params.seed))
    write_metrics(METRICS, summary)
    print(describe(summary))
    if gone:
        raise InputError(
            f"{'; '.join(map(str, gone))}. All rows are in {VERDICTS}, the raw answers in {cache.path}: start the "
            "server again and run `make repro`, which asks only for what is missing"
        )
    for rows in verdicts.values():
        require_coverage(rows, settings.min_coverage, VERDICTS)
