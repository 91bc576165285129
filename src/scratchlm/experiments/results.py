"""What came out of a set's runs: metrics, differences to the baseline with their intervals, and what is published."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import Variant
from scratchlm.errors import InputError
from scratchlm.experiments.record import Note, find_finished, read_notes
from scratchlm.experiments.sets import Experiment, ExperimentSet, Run
from scratchlm.files.revisions import files_of
from scratchlm.judging import comparison
from scratchlm.stage.mean import mean_of

# The metrics that are means over test items whose results are kept.
CLASSIFIED = "finetune_classifier.test_accuracy"
JUDGED: dict[str, Variant] = {
    "judge_responses.assistant.mean": "assistant",
    "judge_responses.preferred.mean": "preferred",
}
NOT_RUN = "not run"
OUTDATED = "params, code or inputs have changed since it ran"


@dataclass(frozen=True)
class Figure:
    """A figure of an experiment; over several seeds, their mean."""

    value: float
    deviation: float | None = None  # standard deviation over several seeds
    low: float | None = None  # 95 % bootstrap interval of a difference
    high: float | None = None


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    experiment: Experiment
    figures: Mapping[str, Figure] = field(default_factory=dict)  # by heading; without those that the metrics lack
    difference: Figure | None = None  # to the baseline, in the compared metric
    seconds: float | None = None  # of all runs together
    remark: str = ""  # why figures, or the interval, are missing, or what the difference leaves out


@dataclass(frozen=True)
class Scores:
    """The scores of which a metric in JUDGED is the mean."""

    judged: comparison.Judged  # with those of other judges and models
    judge: str
    variant: Variant  # the model that was judged

    @property
    def alone(self) -> comparison.Judged:
        """The same without the other judges' and models' scores."""
        own = [row for row in self.judged.rows if (row["judge"], row["variant"]) == (self.judge, self.variant)]
        return replace(self.judged, rows=own)


@dataclass(frozen=True)
class Finished:
    """What one finished run left."""

    figures: Mapping[str, float]  # by heading
    hits: Mapping[Any, float] = field(default_factory=dict)  # CLASSIFIED by test message, in percent
    scores: Scores | None = None  # only where the compared metric is in JUDGED


def read_results(repo: Any, experiments: ExperimentSet, runs: Sequence[Run]) -> list[Result]:
    """Read the results of a set in an open DVC project, one per experiment; nothing is checked out."""
    revisions = find_finished(repo, runs)
    notes = read_notes(Path(repo.root_dir), experiments.name)
    by_run = {run.name: _read_run(repo, experiments, revisions[run.name]) for run in runs if run.name in revisions}
    finished = {
        one.name: [by_run[run.name] for run in runs if run.experiment is one and run.name in by_run]
        for one in experiments.experiments
    }
    results = []
    for one in experiments.experiments:
        own = {run.name: run for run in runs if run.experiment is one}
        done = finished[one.name]
        if len(done) < len(own):
            reasons = [_reason(run, notes.get(name)) for name, run in own.items() if name not in by_run]
            results.append(Result(one, remark="; ".join(dict.fromkeys(reasons))))
            continue
        baseline = finished.get(experiments.baseline or "", []) if one.name != experiments.baseline else []
        difference, remark = compare_runs(experiments.compared, baseline, done)
        seconds = [note.seconds for name in own if (note := notes.get(name)) and note.revision == revisions[name]]
        known = [each for each in seconds if each is not None]
        total = sum(known) if len(known) == len(own) else None
        results.append(Result(one, _figures(experiments, done), difference, total, remark))
    return results


def _reason(run: Run, note: Note | None) -> str:
    """Say why a run has no result."""
    if run.problem or note is None:
        return run.problem or NOT_RUN
    return note.problem or OUTDATED


def _read_run(repo: Any, experiments: ExperimentSet, revision: str) -> Finished:
    with files_of(repo, revision) as files:
        metrics = {stage: _read_metrics(files, stage) for stage in experiments.stages}
        figures = {
            heading: value
            for heading, metric in experiments.metrics.items()
            if (value := _value(metrics, metric)) is not None
        }
        compared = experiments.metrics[experiments.compared]
        hits = _read_hits(files) if compared == CLASSIFIED else {}
    return Finished(figures, hits, _read_scores(repo, revision, compared, metrics) if compared in JUDGED else None)


def _read_scores(repo: Any, revision: str, metric: str, metrics: Mapping[str, Any]) -> Scores | None:
    """Read the scores behind a metric in JUDGED; None if DVC's cache has lost them, for the metrics are in Git."""
    judge = metrics[metric.partition(".")[0]].get("judge")
    try:
        return Scores(comparison.read_revision(repo, revision), judge, JUDGED[metric])
    except InputError:
        return None


def _read_metrics(files: Any, stage: str) -> Any:
    try:
        return json.loads(files.read_text(f"/metrics/{stage}.json", encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _value(metrics: Mapping[str, Any], metric: str) -> float | None:
    found: Any = metrics
    for key in metric.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _read_hits(files: Any) -> dict[Any, float]:
    """Return 100 or 0 for each test message, by its place and text; empty if DVC's cache has lost the files."""
    try:
        texts = files.read_text("/data/sms/test.csv", encoding="utf-8")
        labels = files.read_text("/data/plots/classifier_confusion.csv", encoding="utf-8")
    except FileNotFoundError:
        return {}
    messages = [tuple(row) for row in csv.reader(io.StringIO(texts, newline=""))][1:]
    rows = csv.DictReader(io.StringIO(labels, newline=""))
    hits = [100.0 * (row["actual"] == row["predicted"]) for row in rows]
    return dict(zip(enumerate(messages), hits, strict=True)) if len(messages) == len(hits) else {}


def _figures(experiments: ExperimentSet, complete: Sequence[Finished]) -> dict[str, Figure]:
    shared = [heading for heading in experiments.metrics if all(heading in each.figures for each in complete)]
    return {heading: _over_seeds([each.figures[heading] for each in complete]) for heading in shared}


def _over_seeds(values: Sequence[float]) -> Figure:
    return Figure(mean(values), stdev(values) if len(values) > 1 else None)


def compare_runs(name: str, baseline: Sequence[Finished], done: Sequence[Finished]) -> tuple[Figure | None, str]:
    """Return the difference in the compared metric, seed by seed, and what there is to say of it.

    That is why it or its interval is missing, or that it is not of all entries.
    """
    if len(baseline) != len(done) or not all(name in each.figures for each in (*baseline, *done)):
        return None, ""
    pairs = list(zip(baseline, done, strict=True))
    judges = [(first.scores.judge, second.scores.judge) for first, second in pairs if first.scores and second.scores]
    for judge, other in judges:
        if judge != other:
            return None, f"no difference: its score is {other}'s, the baseline's is {judge}'s"
    values = [second.figures[name] - first.figures[name] for first, second in pairs]
    if len(pairs) > 1:
        return _over_seeds(values), ""
    ((first, second),) = pairs
    if first.scores and second.scores:
        return _compare_scores(first.scores, second.scores, values[0])
    if first.hits and second.hits:
        if first.hits.keys() != second.hits.keys():
            return Figure(values[0]), "no interval: other test messages than the baseline's"
        paired = np.array([second.hits[key] - hit for key, hit in first.hits.items()])
        difference = mean_of(paired, comparison.SEED)
        return Figure(values[0], low=difference.low, high=difference.high), ""
    return Figure(values[0]), ""


def _compare_scores(first: Scores, second: Scores, of_means: float) -> tuple[Figure, str]:
    """Return one judge's difference over the entries that it scored in both, with the interval of the same entries."""
    try:
        (paired,) = comparison.compare(first.alone, second.alone)
    except InputError as error:
        return Figure(of_means), f"no interval: {error}"
    difference = paired.difference
    assert difference.value is not None  # compare() refuses to compare no entries
    remark = f"difference of the {paired.n} entries with a score in both" if paired.n_left_out else ""
    return Figure(difference.value, low=difference.low, high=difference.high), remark
