"""Let base, assistant and preferred choose the likeliest of several answers to each question."""

from pathlib import Path

from scratchlm.benchmark.figure import draw_accuracies
from scratchlm.benchmark.likelihood import score_choices
from scratchlm.benchmark.questions import collect_questions
from scratchlm.benchmark.summary import as_rows, by_subject, describe, summarise
from scratchlm.files.atomic import write_json
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.snapshots import open_snapshots
from scratchlm.stage.tables import write_table

INPUTS = Path("inputs/benchmarks")
BASES = Path("models/bases")
ASSISTANT = Path("models/assistant")
PREFERRED = Path("models/preferred")
BENCHMARK = Path("data/benchmark.json")
TABLE = Path("data/plots/benchmark.csv")
PICTURE = Path("data/plots/benchmark.png")
METRICS = Path("metrics/benchmark_models.json")


def main(params: Params) -> None:
    source = params.benchmark.source
    questions = collect_questions(source, INPUTS)
    device = choose_device()
    snapshots = open_snapshots("benchmark_models", device)
    scores = score_choices(
        {"base": BASES / params.finetune_instructions.base, "assistant": ASSISTANT, "preferred": PREFERRED},
        questions,
        style=params.instructions.prompt_style,
        device=device,
        snapshots=snapshots,
    )
    rows = as_rows(questions, scores)
    table = by_subject(rows, params.seed)
    summary = summarise(rows, table, source, params.seed)
    write_json(BENCHMARK, rows)
    write_table(TABLE, table)
    draw_accuracies(PICTURE, table)
    write_metrics(METRICS, summary)
    snapshots.finish()
    print(describe(summary, table))
