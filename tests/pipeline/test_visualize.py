"""The outs of visualize_model: pictures that DVC shows, and tables and figures that agree."""

import csv
import json
import re

import pytest
from project import Project, TinyRun

from scratchlm.anatomy.shapes import describe_shapes
from scratchlm.checkpoint.folder import load

NAMES = ("attention", "activations", "temperatures", "gradients", "positions", "pretrain", "classifier_loss")
PICTURES = [f"data/plots/{name}.png" for name in (*NAMES, "finetune_instructions", "tune_preferences", "benchmark")]


def rows(project: Project, path: str) -> list[dict[str, str]]:
    with (project.folder / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_dvc_shows_the_pictures(project: Project) -> None:
    shown = json.loads(project.dvc("plots", "show", "--json").stdout)
    assert {path: shown["data"][path][0]["type"] for path in PICTURES} == dict.fromkeys(PICTURES, "image")
    project.dvc("plots", "show")
    page = project.read("dvc_plots/index.html")
    sources = re.findall(r'<img src="(static/[^"]+)"', page)
    assert len(sources) == len(PICTURES)
    contents = {(project.folder / "dvc_plots" / source).read_bytes() for source in sources}
    assert contents == {(project.folder / path).read_bytes() for path in PICTURES}


def test_the_shapes_are_of_the_trained_model_and_the_text(tiny_run: TinyRun) -> None:
    model, tokenizer = load(tiny_run.project.folder / "models" / "pretrained")
    text = "One morning Tom went to the market and"
    assert describe_shapes(model.config, [text], [tokenizer.encode_ordinary(text)]) in tiny_run.project.read(
        "data/plots/shapes.md"
    )


def test_each_temperature_has_a_whole_distribution(tiny_run: TinyRun) -> None:
    table = rows(tiny_run.project, "data/plots/temperatures.csv")
    assert [row["temperature"] for row in table] == ["0.1"] * 11 + ["1.0"] * 11 + ["5.0"] * 11
    assert table[10]["token"].endswith(" others")
    for start in (0, 11, 22):
        assert sum(float(row["probability"]) for row in table[start : start + 11]) == pytest.approx(1, abs=1e-4)
    assert float(table[0]["probability"]) > float(table[11]["probability"]) > float(table[22]["probability"])


def test_tokens_of_the_text_have_five_neighbours_each(tiny_run: TinyRun) -> None:
    table = rows(tiny_run.project, "data/plots/neighbours.csv")
    assert len(table) == 40 and len({row["token"] for row in table}) == 8
    assert all(row["token"] != row["neighbour"] and -1 <= float(row["cosine"]) <= 1 for row in table)
    assert [row["cosine"] for row in table[:5]] == sorted((row["cosine"] for row in table[:5]), key=float, reverse=True)


def test_gradients_are_of_every_block(tiny_run: TinyRun) -> None:
    model, _ = load(tiny_run.project.folder / "models" / "pretrained")
    table = rows(tiny_run.project, "data/plots/gradients.csv")
    assert [int(row["block"]) for row in table] == list(range(1, model.config.n_layers + 1))
    assert all(float(value) > 0 for row in table for value in row.values())


@pytest.mark.slow
def test_a_model_without_shortcuts_is_shown_without_them(project: Project) -> None:
    project.set_params({"model.shortcuts": False, "model.n_layers": 2})
    project.dvc("repro", "visualize_model")
    assert "+ shortcut" not in project.read("data/plots/shapes.md")
    assert "h.1 " in project.read("data/plots/shapes.md")


def test_a_text_that_is_too_long_ends_in_one_line(project: Project) -> None:
    project.set_params({"visualize.text": "market " * 300})
    done = project.run(
        "env", "PYTHONPATH=src", "python", "-m", "scratchlm.stage", "stages/visualize_model.py", fails=True
    )
    assert re.match(r"visualize_model: error: the text has \d+ tokens, this model takes 1 to 256", done.stderr)
    assert len(done.stderr.splitlines()) == 1
