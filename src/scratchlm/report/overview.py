"""What ran: the figures at a glance, params, data and versions, and what differs between the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.report.blocks import MISSING, Block, Column, Section, Side, Table, Tile, Tiles, Words, interval, written
from scratchlm.report.cells import (
    HASH_CHARS,
    Cell,
    by_run,
    count,
    estimate,
    figure,
    from_to,
    hash_of,
    param,
    pin,
    splits,
    value_of,
)
from scratchlm.report.run import Run, unfinished

PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "tiktoken", "scikit-learn", "sacrebleu", "dvc")
HASH_NOTE = f"The first {HASH_CHARS} characters of each folder's MD5 in dvc.lock: the same data have the same."
TRAININGS = "Trainings"
LOSSES_NOTE = "Losses in nats per token, message or pair: start → end, of the kept weights."
DATA = ("data/corpus", "data/tokenizer", "models/bases", "data/sms", "data/instructions", "data/preferences")


def glance(runs: Sequence[Run]) -> Section:
    """Return the figures that a reader wants first: large for one run, as a table for several."""
    if len(runs) == 1:
        tiles = list(_tiles(runs[0]))
        return Section("glance", "At a glance", [Tiles(tiles)] if tiles else [], unfinished(runs))
    rows = [
        ("pretraining: validation loss (nats per token)", from_to("pretrain", "validation_loss", ".3f")),
        ("classifier: test accuracy (%)", figure("finetune_classifier.test_accuracy", ".2f")),
        ("TF-IDF, same messages (%)", figure("finetune_classifier.baseline_test_accuracy", ".2f")),
        ("judge", lambda run: run.figure("judge_responses.judge") or MISSING),
        *((f"{name}: mean score", estimate(f"judge_responses.{name}")) for name in VARIANTS),
        *((f"{name}: multiple choice (%)", estimate(f"benchmark_models.{name}", "acc", "acc_")) for name in VARIANTS),
    ]
    note = "In brackets: 95 % intervals."
    return Section("glance", "At a glance", [by_run(runs, "", rows, note=note)], unfinished(runs))


def _tiles(run: Run) -> Iterator[Tile]:
    loss, bigram = run.figure("pretrain.validation_loss"), run.figure("pretrain.bigram_validation_loss")
    if loss is not None:
        start = written(run.figure("pretrain.initial_validation_loss"), ".3f")
        beside = "" if bigram is None else f"; counting pairs of tokens gives {bigram:.3f}"
        yield Tile("pretraining", f"{loss:.3f}", f"validation loss in nats per token, from {start}{beside}")
    accuracy = run.figure("finetune_classifier.test_accuracy")
    if accuracy is not None:
        messages = written(run.figure("prepare_sms.test"), ",")
        baseline = written(run.figure("finetune_classifier.baseline_test_accuracy"), ".2f", " %")
        yield Tile("classifier", f"{accuracy:.2f} %", f"of {messages} test messages; TF-IDF gets {baseline}")
    base = written(run.figure("judge_responses.base.mean"), ".2f")
    for name, beside in (("assistant", f"; its base has {base}"), ("preferred", "")):
        scores = run.figure(f"judge_responses.{name}")
        if scores and scores["mean"] is not None:
            limits = interval(scores["ci95_low"], scores["ci95_high"])
            note = f"mean score of {scores['n_scored']:,} answers ({limits}){beside}"
            yield Tile(name, f"{scores['mean']:.2f}", note)
    accuracy, chance = run.figure("benchmark_models.assistant.acc"), run.figure("benchmark_models.chance")
    if accuracy is not None:
        note = f"assistant, {run.figure('benchmark_models.questions'):,} questions; chance gives {chance:.0f} %"
        yield Tile("multiple choice", f"{accuracy:.2f} %", note)


def what_ran(runs: Sequence[Run]) -> Section:
    """Return profiles, params, data and versions."""
    blocks: list[Block] = []
    for run in runs:
        blocks += _profile(run, several=len(runs) > 1)
    if len(runs) > 1:
        blocks.append(_differing_params(runs))
    tables = [
        by_run(runs, "Data", _DATA_ROWS),
        by_run(runs, "Their hashes", [(path, hash_of(path)) for path in DATA], note=HASH_NOTE),
        by_run(runs, "Versions", [(name, pin(name)) for name in PACKAGES], note="As constraints.txt pins them."),
    ]
    tables = [table for table in tables if table.rows]
    blocks += [Side(tables)] if len(runs) == 1 else tables
    blocks.append(_trainings(runs[0]) if len(runs) == 1 else by_run(runs, TRAININGS, _TRAINING_ROWS, note=LOSSES_NOTE))
    return Section("ran", "What ran", blocks)


def _profile(run: Run, several: bool) -> Iterator[Block]:
    prefix = f"{run.title}: the" if several else "The"
    differing = {name: differences(run.params, profile) for name, profile in run.profiles.items()}
    if differing:
        nearest = min(differing, key=lambda name: len(differing[name]))
        keys = differing[nearest]
        changed = f"with {len(keys)} of {len(run.params)} params changed" if keys else "unchanged"
        yield Words(f"{prefix} profile {nearest}, {changed}.")
        if keys:
            columns = [Column("param", "code"), Column(f"profile {nearest}"), Column(run.name)]
            profile = run.profiles[nearest]
            yield Table("", columns, [(key, value_of(profile, key), value_of(run.params, key)) for key in keys])
    if run.outdated:
        shown = "; ".join(f"{stage} ({', '.join(changed)})" for stage, changed in run.outdated.items())
        remedy = " `make repro` runs them again." if run.commit is None else ""
        yield Words(
            f"{f'{run.name}: ' if several else ''}these stages ran before what is in brackets changed, so what they "
            f"made is out of date: {shown}.{remedy}",
            is_warning=True,
        )


def differences(params: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    """Return the keys of `params` that have another value, or none, among the others."""
    return [key for key in params if key not in others or others[key] != params[key]]


def _differing_params(runs: Sequence[Run]) -> Block:
    rows = [
        (key, *(value_of(run.params, key) for run in runs))
        for key in dict.fromkeys(key for run in runs for key in run.params)
        if any(run.params.get(key, MISSING) != runs[0].params.get(key, MISSING) for run in runs)
    ]
    if not rows:
        return Words("All ran with the same params.")
    columns = [Column("param", "code"), *(Column(run.name) for run in runs)]
    return Table("Params that differ between them", columns, rows)


_DATA_ROWS: list[tuple[str, Cell]] = [
    ("corpus: source", param("corpus.source")),
    ("corpus: documents", count("tokenize_corpus.documents")),
    ("corpus: characters", count("tokenize_corpus.characters")),
    ("corpus: tokens", count("tokenize_corpus.tokens")),
    ("vocabulary: tokens", count("tokenize_corpus.vocab_size")),
    ("messages: source", param("sms.source")),
    ("messages: all", count("prepare_sms.rows")),
    ("messages: kept", count("prepare_sms.kept")),
    ("messages: train / validation / test", splits("prepare_sms")),
    ("instructions: source", param("instructions.source")),
    ("instructions: train / validation / test", splits("prepare_instructions")),
    ("test answers that are in train too", count("prepare_instructions.test_answers_in_train")),
    ("preference pairs: source", param("preferences.source")),
    ("preference pairs: train / validation / test", splits("prepare_preferences")),
]
_TRAINING_STAGES = {
    "pretraining": "pretrain",
    "classifier": "finetune_classifier",
    "assistant": "finetune_instructions",
    "preferences": "tune_preferences",
}


def _training_cells(stage: str) -> dict[str, Cell]:
    return {
        "trained parameters": count(f"{stage}.{'parameters' if stage == 'pretrain' else 'trained_parameters'}"),
        "steps": count(f"{stage}.steps"),
        "tokens seen": count(f"{stage}.tokens_seen"),
        "train loss": from_to(stage, "train_loss", ".3f"),
        "validation loss": from_to(stage, "validation_loss", ".3f"),
    }


_TRAINING_ROWS: list[tuple[str, Cell]] = [
    (f"{name}: {what}", cell)
    for name, stage in _TRAINING_STAGES.items()
    for what, cell in _training_cells(stage).items()
]


def _trainings(run: Run) -> Table:
    """Return the trainings of one run, a row for each."""
    rows = [
        (name, *(cell(run) for cell in _training_cells(stage).values()))
        for name, stage in _TRAINING_STAGES.items()
        if stage in run.metrics
    ]
    columns = [Column("", "words"), *map(Column, _training_cells("pretrain"))]
    return Table(TRAININGS, columns, rows, LOSSES_NOTE)
