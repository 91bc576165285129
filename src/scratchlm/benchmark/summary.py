"""What the scores of the choices say together: accuracy with its uncertainty, by subject, and the paired difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.benchmark.likelihood import Scored
from scratchlm.benchmark.questions import Question
from scratchlm.files.text import shorten
from scratchlm.stage.mean import mean_of

ALL = "all questions"
SUBJECT_COLUMNS = 29  # with the figures 80
LABEL_COLUMNS = 21
INTERVAL = ("_ci95_low", "_ci95_high")  # ends of the names in the metrics and in the table
MEASURES = {"acc": "predicted", "acc_norm": "predicted_norm"}

Row = dict[str, Any]


def as_rows(questions: Sequence[Question], scores: Mapping[str, Sequence[Sequence[Scored]]]) -> list[Row]:
    """Return one row per question with what each model said of it, as in data/benchmark.json.

    `predicted` is the likeliest choice, `predicted_norm` the likeliest by its characters; the first of equal ones.
    """
    return [
        {"id": number, **asked, **{name: _verdict(asked["choices"], given[number]) for name, given in scores.items()}}
        for number, asked in enumerate(questions)
    ]


def _verdict(choices: Sequence[str], scored: Sequence[Scored]) -> dict[str, Any]:
    log_likelihoods = np.array([choice.log_likelihood for choice in scored])
    # By characters, not bytes: lm-evaluation-harness's acc_norm.
    by_character = log_likelihoods / [len(choice) for choice in choices]
    return {
        "log_likelihoods": log_likelihoods.tolist(),
        "predicted": int(log_likelihoods.argmax()),
        "predicted_norm": int(by_character.argmax()),
        "was_cut": any(choice.was_cut for choice in scored),
    }


def summarise(rows: Sequence[Row], table: Sequence[Row], source: str, seed: int) -> dict[str, Any]:
    """Turn the rows, and the table of `by_subject`, into the metrics, in percent.

    They are the accuracies of each model, of all questions and by subject, the differences of those of COMPARED
    (`difference` is assistant minus base, `preferred_difference` preferred minus assistant), and that of guessing.
    Intervals are 95 % percentile bootstraps, as those of the judges' scores: one method for accuracies and for paired
    differences. Without questions there is nothing but their number.
    """
    if not rows:
        return {"source": source, "questions": 0}
    right = {name: {measure: right_of(rows, name, measure) for measure in MEASURES} for name in VARIANTS}
    differences = {
        f"{prefix}difference": {measure: right[two][measure] - right[one][measure] for measure in MEASURES}
        for prefix, (one, two) in COMPARED.items()
    }
    return {
        "source": source,
        "questions": len(rows),
        "cut_questions": sum(any(row[name]["was_cut"] for name in VARIANTS) for row in rows),
        "chance": chance_of(rows),
        **{name: _figures(values, seed) for name, values in (right | differences).items()},
        "subjects": {row["subject"]: _of_subject(row) for row in table[1:]},
    }


def _figures(values: Mapping[str, np.ndarray], seed: int) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for measure, of_questions in values.items():
        mean = mean_of(of_questions, seed)
        figures |= {measure: mean.value, f"{measure}_ci95_low": mean.low, f"{measure}_ci95_high": mean.high}
    return figures


def _of_subject(row: Row) -> Row:
    accuracies: Row = {name: {f"acc{end}": row[f"{name}{end}"] for end in ("", *INTERVAL)} for name in VARIANTS}
    return {"n": row["n"], "chance": row["chance"], **accuracies}


def right_of(rows: Sequence[Row], name: str, measure: str) -> np.ndarray:
    """Return 100 for each question that a model answered rightly and 0 for the others, [n]."""
    return np.array([100.0 * (row[name][MEASURES[measure]] == row["answer"]) for row in rows])


def chance_of(rows: Sequence[Row]) -> float | None:
    """Return the accuracy of guessing, in percent; None without questions."""
    return float(np.mean([100.0 / len(row["choices"]) for row in rows])) if rows else None


def subjects_of(rows: Sequence[Row]) -> list[str]:
    """Return the subjects in alphabetical order."""
    return sorted({row["subject"] for row in rows} - {""})


def by_subject(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return a table of accuracies in percent, with 95 % intervals: all questions first, then each subject."""
    # Pairs, since a subject may be called as the total is.
    groups = [(ALL, rows)]
    groups += [(subject, [row for row in rows if row["subject"] == subject]) for subject in subjects_of(rows)]
    table = []
    for subject, group in groups:
        row: Row = {"subject": subject, "n": len(group), "chance": chance_of(group)}
        for name in VARIANTS:
            mean = mean_of(right_of(group, name, "acc"), seed)
            row |= {name: mean.value, f"{name}_ci95_low": mean.low, f"{name}_ci95_high": mean.high}
        for name in VARIANTS:
            row[f"{name}_norm"] = float(right_of(group, name, "acc_norm").mean()) if group else None
        table.append(row)
    return table


def describe(summary: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as lines of at most 80 columns for the console."""
    return "\n".join(_describe_lines(summary, table))


def _describe_lines(summary: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not summary["questions"]:
        yield f"no benchmark (benchmark.source is {summary['source']})"
        return
    columns = ("chance", *VARIANTS)
    yield f"{'accuracy in %':{SUBJECT_COLUMNS}} {'n':>6} " + " ".join(f"{column:>10}" for column in columns)
    for row in table:
        figures = " ".join(f"{row[column]:10.1f}" for column in columns)
        yield f"{shorten(row['subject'], SUBJECT_COLUMNS):{SUBJECT_COLUMNS}} {row['n']:6,} {figures}"
    labels: dict[str, str] = {name: name for name in VARIANTS}
    labels |= {f"{prefix}difference": f"{two} - {one}" for prefix, (one, two) in COMPARED.items()}
    for name, label in labels.items():
        for measure in MEASURES:
            value, low, high = (summary[name][f"{measure}{end}"] for end in ("", *INTERVAL))
            interval = "no interval from one question" if low is None else f"95 % interval {low:.1f} to {high:.1f}"
            yield f"{label:{LABEL_COLUMNS}} {measure:8} {value:6.1f}  ({interval})"
    if summary["cut_questions"]:
        yield f"longer than the model's context, so that their beginning was cut off: {summary['cut_questions']}"
