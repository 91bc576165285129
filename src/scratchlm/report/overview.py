"""What ran: the figures at a glance, params, data and versions, and what differs between the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from scratchlm.params.file import show_value
from scratchlm.report.blocks import MISSING, Block, Column, Section, Table, Tile, Tiles, Words, interval, written
from scratchlm.report.run import Run

HASH_CHARS = 12
PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "tiktoken", "scikit-learn", "sacrebleu", "dvc")
DATA = ("data/corpus", "data/tokenizer", "models/bases", "data/sms", "data/instructions", "data/preferences")

Cell = Callable[[Run], str]


def by_run(runs: Sequence[Run], title: str, rows: Sequence[tuple[str, Cell]], heading: str = "", note: str = "") -> Table:
    """Return a table with a column for each run; rows that no run has are left out."""
    cells = [(label, *(cell(run) for run in runs)) for label, cell in rows]
    shown = [row for row in cells if any(cell not in ("", MISSING) for cell in row[1:])]
    return Table(title, [Column(heading, "words"), *(Column(run.name) for run in runs)], shown, note)


def count(name: str) -> Cell:
    """Return a cell with a whole number of the metrics."""
    return lambda run: written(run.figure(name), ",")


def figure(name: str, form: str, unit: str = "") -> Cell:
    """Return a cell with a figure of the metrics."""
    return lambda run: written(run.figure(name), form, unit)


def from_to(stage: str, key: str, form: str) -> Cell:
    """Return a cell with a figure before and after a training."""

    def cell(run: Run) -> str:
        start, end = run.figure(f"{stage}.initial_{key}"), run.figure(f"{stage}.{key}")
        return MISSING if end is None else written(end, form) if start is None else f"{start:{form}} → {end:{form}}"

    return cell


def estimate(name: str, value: str = "mean", prefix: str = "") -> Cell:
    """Return a cell with a mean and its 95 % interval."""

    def cell(run: Run) -> str:
        found = run.figure(name)
        if not isinstance(found, dict) or found.get(value) is None:
            return MISSING
        limits = interval(found.get(f"{prefix}ci95_low"), found.get(f"{prefix}ci95_high"))
        return written(found[value], ".2f") + ("" if limits == MISSING else f" ({limits})")

    return cell


def param(key: str) -> Cell:
    """Return a cell with a param, as YAML has it."""
    return lambda run: show_value(run.params[key]).strip("'") if key in run.params else MISSING


def glance(runs: Sequence[Run]) -> Section:
    """Return the figures that a reader wants first: large for one run, as a table for several."""
    if len(runs) == 1:
        return Section("glance", "At a glance", [Tiles(list(_tiles(runs[0])))])
    rows = [
        ("pretraining: validation loss (nats per token)", from_to("pretrain", "validation_loss", ".3f")),
        ("classifier: test accuracy (%)", figure("finetune_classifier.test_accuracy", ".2f")),
        ("TF-IDF, same messages (%)", figure("finetune_classifier.baseline_test_accuracy", ".2f")),
        ("judge", lambda run: run.figure("judge_responses.judge") or MISSING),
        *(
            (f"{name}: mean score", estimate(f"judge_responses.{name}"))
            for name in ("base", "assistant", "preferred")
        ),
        *(
            (f"{name}: multiple choice (%)", estimate(f"benchmark_models.{name}", "acc", "acc_"))
            for name in ("base", "assistant", "preferred")
        ),
    ]
    note = "In brackets: 95 % intervals."
    return Section("glance", "At a glance", [by_run(runs, "", rows, note=note)])


def _tiles(run: Run) -> Iterator[Tile]:
    loss, start, bigram = (
        run.figure(f"pretrain.{key}")
        for key in ("validation_loss", "initial_validation_loss", "bigram_validation_loss")
    )
    if loss is not None:
        beside = "" if bigram is None else f"; counting pairs of tokens gives {bigram:.3f}"
        yield Tile("pretraining", f"{loss:.3f}", f"validation loss in nats per token, from {written(start, '.3f')}{beside}")
    accuracy, baseline = (run.figure(f"finetune_classifier.{key}") for key in ("test_accuracy", "baseline_test_accuracy"))
    if accuracy is not None:
        messages = written(run.figure("prepare_sms.test"), ",")
        yield Tile("classifier", f"{accuracy:.2f} %", f"of {messages} test messages; TF-IDF gets {written(baseline, '.2f')} %")
    base = run.figure("judge_responses.base.mean")
    for name, beside in (("assistant", f"; its base has {written(base, '.2f')}"), ("preferred", "")):
        scores = run.figure(f"judge_responses.{name}")
        if scores and scores["mean"] is not None:
            limits = interval(scores["ci95_low"], scores["ci95_high"])
            yield Tile(name, f"{scores['mean']:.2f}", f"mean score of {scores['n_scored']:,} answers ({limits}){beside}")
    accuracy, chance = run.figure("benchmark_models.assistant.acc"), run.figure("benchmark_models.chance")
    if accuracy is not None:
        questions = run.figure("benchmark_models.questions")
        yield Tile("multiple choice", f"{accuracy:.2f} %", f"assistant, {questions:,} questions; chance gives {chance:.0f} %")


def what_ran(runs: Sequence[Run]) -> Section:
    """Return profiles, params, data and versions."""
    blocks: list[Block] = []
    for run in runs:
        blocks += _profile(run, several=len(runs) > 1)
    if len(runs) > 1:
        blocks.append(_differing_params(runs))
    blocks.append(by_run(runs, "Data", _DATA_ROWS))
    blocks.append(by_run(runs, "Trainings", _TRAINING_ROWS, note="Losses in nats: start → end, of the kept weights."))
    blocks.append(
        by_run(
            runs,
            "What the data were",
            [(path, lambda run, path=path: run.hashes.get(path, MISSING)[:HASH_CHARS]) for path in DATA],  # type: ignore[misc]
            note=f"The first {HASH_CHARS} characters of the MD5 that dvc.lock has of each folder: the same data have the same.",
        )
    )
    blocks.append(
        by_run(
            runs,
            "Versions",
            [(name, lambda run, name=name: run.pins.get(name, MISSING)) for name in PACKAGES],  # type: ignore[misc]
            note="As constraints.txt pins them.",
        )
    )
    return Section("ran", "What ran", blocks)


def _profile(run: Run, several: bool) -> Iterator[Block]:
    prefix = f"{run.name}: " if several else ""
    commit = f", commit {run.commit}" if run.commit else ""
    differing = {name: differences(run.params, profile) for name, profile in run.profiles.items()}
    if differing:
        nearest = min(differing, key=lambda name: len(differing[name]))
        keys = differing[nearest]
        if not keys:
            yield Words(f"{prefix}the profile {nearest}, unchanged{commit}.")
        else:
            yield Words(
                f"{prefix}nearest to the profile {nearest}, from which {len(keys)} of {len(run.params)} params "
                f"differ{commit}."
            )
            columns = [Column("param", "code"), Column(f"profile {nearest}"), Column(run.name)]
            profile = run.profiles[nearest]
            yield Table("", columns, [(key, _value(profile, key), _value(run.params, key)) for key in keys])
    if run.changed:
        shown = ", ".join(run.changed)
        yield Words(
            f"{prefix}params.yaml has changed since, so some results are of other values: {shown}. `make repro` brings "
            "all up to date.",
            is_warning=True,
        )


def differences(params: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    """Return the keys of `params` that have another value, or none, among the others."""
    return [key for key in params if key not in others or others[key] != params[key]]


def _differing_params(runs: Sequence[Run]) -> Block:
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.params)]
    rows = [
        (key, *cells) for key in keys if len(set(cells := [_value(run.params, key) for run in runs])) > 1
    ]
    if not rows:
        return Words("All ran with the same params.")
    columns = [Column("param", "code"), *(Column(run.name) for run in runs)]
    return Table("Params that differ between them", columns, rows)


def _value(params: Mapping[str, object], key: str) -> str:
    return show_value(params[key]) if key in params else MISSING


def _splits(stage: str) -> Cell:
    def cell(run: Run) -> str:
        found = [run.figure(f"{stage}.{split}") for split in ("train", "validation", "test")]
        return MISSING if None in found else " / ".join(f"{number:,}" for number in found)

    return cell


_DATA_ROWS: list[tuple[str, Cell]] = [
    ("corpus: source", param("corpus.source")),
    ("corpus: documents", count("tokenize_corpus.documents")),
    ("corpus: characters", count("tokenize_corpus.characters")),
    ("corpus: tokens", count("tokenize_corpus.tokens")),
    ("vocabulary: tokens", count("tokenize_corpus.vocab_size")),
    ("messages: source", param("sms.source")),
    ("messages: all", count("prepare_sms.rows")),
    ("messages: kept", count("prepare_sms.kept")),
    ("messages: train / validation / test", _splits("prepare_sms")),
    ("instructions: source", param("instructions.source")),
    ("instructions: train / validation / test", _splits("prepare_instructions")),
    ("test answers that are in train too", count("prepare_instructions.test_answers_in_train")),
    ("preference pairs: source", param("preferences.source")),
    ("preference pairs: train / validation / test", _splits("prepare_preferences")),
]
_TRAINING_ROWS: list[tuple[str, Cell]] = [
    (f"{label}: {what}", cell)
    for label, stage, unit in (
        ("pretraining", "pretrain", "token"),
        ("classifier", "finetune_classifier", "message"),
        ("assistant", "finetune_instructions", "token"),
        ("preferences", "tune_preferences", "pair"),
    )
    for what, cell in (
        ("trained parameters", count(f"{stage}.{'parameters' if stage == 'pretrain' else 'trained_parameters'}")),
        ("steps", count(f"{stage}.steps")),
        ("tokens seen", count(f"{stage}.tokens_seen")),
        (f"train loss per {unit}", from_to(stage, "train_loss", ".3f")),
        (f"validation loss per {unit}", from_to(stage, "validation_loss", ".3f")),
    )
]
