"""The table of a set: what is measured, published and missing, in 80 columns, in Markdown and in CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from scratchlm.experiments.figure import draw_set
from scratchlm.experiments.results import Figure, Result
from scratchlm.experiments.sets import ExperimentSet
from scratchlm.experiments.table import as_csv, as_markdown, as_text

SET = ExperimentSet.model_validate(
    {
        "name": "mine",
        "description": "Mine",
        "metrics": {"train": "finetune_classifier.train_accuracy", "test": "finetune_classifier.test_accuracy"},
        "compared": "test",
        "baseline": "one",
        "experiments": [
            {"name": "one", "label": "the first", "published": {"train": 96.63, "test": 95.0}},
            {"name": "two", "label": "the second", "overrides": {"weights.bases": ["124M"], "seed": 7, "x.y": None}},
            {"name": "three", "label": "the third", "note": "a note"},
        ],
    }
)
ONE, TWO, THREE = SET.experiments
RESULTS = [
    Result(ONE, {"train": Figure(99.5), "test": Figure(98.25)}, None, 1234.4),
    Result(TWO, {"test": Figure(90.0)}, Figure(-8.25, low=-10.04, high=-6.51), 3.0),
    Result(THREE, remark="it failed"),
]
SEEDS = ExperimentSet.model_validate(
    SET.model_dump() | {"baseline": None, "seeds": [1, 2], "experiments": [ONE.model_dump()]}
)


def test_the_text_has_figures_difference_published_value_seconds_and_reasons() -> None:
    assert as_text(SET, RESULTS).splitlines() == [
        "mine: Mine",
        "experiment  train   test      test - baseline  published      s",
        "one         99.50  98.25             baseline      95.00  1,234",
        "two             -  90.00  -8.25 (-10.0, -6.5)          -      3",
        "three           -      -                    -          -      -",
        "three: it failed",
        "three: a note",
    ]


@pytest.mark.parametrize("length", range(8, 30))
def test_columns_that_do_not_fit_follow_below_with_the_names_again(length: int) -> None:
    headings = [f"{n}{'x' * length}" for n in range(5)]
    wide = SET.model_copy(update={"metrics": {heading: f"a.{heading}" for heading in headings}})
    lines = as_text(wide, [Result(one) for one in SET.experiments]).splitlines()
    assert max(map(len, lines)) <= 80
    headers = [line for line in lines if line.startswith("experiment ")]
    assert len(headers) == sum(line.startswith("two ") for line in lines) >= 2 - (length < 9)
    assert [word for line in headers for word in line.split() if word in headings] == headings


def test_several_seeds_are_mean_and_standard_deviation() -> None:
    (line,) = [
        line
        for line in as_text(SEEDS, [Result(ONE, {"test": Figure(98.25, 0.5)})]).splitlines()
        if line.startswith("one ")
    ]
    assert "98.25 ± 0.50" in line


def test_markdown_has_params_and_all_published_values_beside_an_empty_column() -> None:
    assert as_markdown(SET, [Result(one) for one in SET.experiments], missing="").splitlines() == [
        "| experiment | params | train, published | test, published | train, here | test, here | test - baseline "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|",
        "| the first |  | 96.63 | 95.00 |  |  | baseline |  |",
        "| the second | `weights.bases: [124M]`<br>`seed: 7`<br>`x.y: null` | - | - |  |  |  |  |",
        "| the third |  | - | - |  |  |  |  |",
        "",
        "- the third: a note",
    ]


def test_csv_has_a_number_per_cell() -> None:
    one, two, three = csv.DictReader(io.StringIO(as_csv(SET, RESULTS)))
    assert (one["train"], one["test"], one["test_published"], one["seconds"]) == ("99.5", "98.25", "95", "1234.4")
    assert (two["train"], two["difference"], two["difference_low"]) == ("", "-8.25", "-10.04")
    assert (three["label"], three["test"], three["remark"]) == ("the third", "", "it failed")


def test_the_plot_is_a_picture_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        draw_set(tmp_path / name, SET, RESULTS)
    content = (tmp_path / "first.png").read_bytes()
    assert content.startswith(b"\x89PNG") and content == (tmp_path / "second.png").read_bytes()
    draw_set(tmp_path / "empty.png", SET, [Result(one) for one in SET.experiments])
    assert (tmp_path / "empty.png").read_bytes() != content
