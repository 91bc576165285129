"""Have every answer scored against its reference, compare each model with what it was tuned from, test the judges."""

from pathlib import Path

from scratchlm.assistant.instructions import read_entries
from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json, write_text
from scratchlm.judging.answer_cache import cache_path
from scratchlm.judging.judges import judge_by_all
from scratchlm.judging.report import write_report
from scratchlm.judging.responses import read_responses
from scratchlm.judging.summary import describe, require_coverage, score_histogram, summarise, summarise_by_answer
from scratchlm.judging.trust import find_doubts
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table

TRAIN = Path("data/instructions/train.json")
RESPONSES = Path("data/responses.json")
VERDICTS = Path("data/verdicts.json")
PAIRWISE = Path("data/pairwise.json")
SCORES = Path("data/plots/judge_scores.csv")
COMPARISON = Path("data/comparison.md")
METRICS = Path("metrics/judge_responses.json")


def main(params: Params) -> None:
    settings = params.judge
    entries = read_responses(RESPONSES)
    verdicts, pairs, probes, gone = judge_by_all(entries, settings, params.seed)
    summary = summarise(verdicts, pairs, probes, entries, params.seed)
    known = {entry["output"] for entry in read_entries(TRAIN)}
    summary |= summarise_by_answer(verdicts[settings.judges[0]], entries, known, params.seed)
    write_json(VERDICTS, [row for rows in verdicts.values() for row in rows])
    write_json(PAIRWISE, [row for rows in pairs.values() for row in rows])
    write_table(SCORES, score_histogram(verdicts[settings.judges[0]]))
    write_text(COMPARISON, write_report(entries, verdicts, pairs, find_doubts(summary), params.seed))
    write_metrics(METRICS, summary)
    print(describe(summary))
    if gone:
        raise InputError(
            f"{'; '.join(map(str, gone))}. All rows are in {VERDICTS} and {PAIRWISE}, the raw answers in "
            f"{cache_path()}: start the server again and run `make repro`, which asks only for what is missing"
        )
    for rows in verdicts.values():
        require_coverage(rows, settings.min_coverage, VERDICTS)
    for rows in pairs.values():
        require_coverage(rows, settings.min_coverage, PAIRWISE, "comparisons")
