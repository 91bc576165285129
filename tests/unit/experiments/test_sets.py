"""Named sets: those of the project are valid and say what was published; mistakes are found before anything runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from scratchlm.errors import InputError
from scratchlm.experiments.sets import ExperimentSet, Run, hydra_override, load_set, overridden, set_names
from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[3]
PROFILES = sorted(path.stem for path in (REPOSITORY / "profiles").glob("*.yaml"))
SETS = set_names(REPOSITORY)
# What needs GPT-2's weights, or longer texts than a small model sees.
NEEDS_BOOK = {
    "classifier_variants": ["355m", "774m", "1558m", "1558m-all", "1558m-lora"],
    "assistant_variants": ["alpaca-52k"],
}
# Train, validation and test accuracy by row of the published table.
PUBLISHED = {
    **{1: (96.63, 99.33, 95.00), 2: (78.46, 80.54, 75.00), 3: (78.65, 79.87, 72.00), 4: (98.85, 98.66, 98.33)},
    **{5: (99.62, 96.64, 96.67), 6: (87.50, 91.28, 84.67), 7: (99.52, 98.66, 96.67), 8: (99.81, 99.81, 98.33)},
    **{9: (100, 98.66, 98.67), 10: (100, 96.64, 93.67), 11: (100, 97.32, 96.67), 12: (100, 98.66, 98.33)},
    **{13: (83.08, 87.92, 78.33), 14: (100, 98.66, 98.00), 15: (99.33, 98.66, 98.33), 16: (99.42, 98.66, 98.33)},
    **{17: (99.23, 98.66, 95.33), 18: (96.63, 99.33, 95.00), 19: (97.79, 99.33, 96.33)},
}


def project(folder: Path, profile: str = "sample") -> Path:
    """Make a folder with what a set is checked against."""
    shutil.copytree(REPOSITORY / "experiments", folder / "experiments")
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    shutil.copy(REPOSITORY / "profiles" / f"{profile}.yaml", folder / "params.yaml")
    return folder


def load_text(folder: Path, text: str) -> tuple[ExperimentSet, list[Run]]:
    root = project(folder)
    (root / "experiments/mine.yaml").write_text(text, encoding="utf-8")
    return load_set("mine", root)


def published(name: str) -> dict[str, tuple[float, ...]]:
    experiments, _ = load_set(name, REPOSITORY)
    return {one.label: tuple(one.published.values()) for one in experiments.experiments if one.published}


# --- the sets of the project --------------------------------------------------------------------------------


def test_the_promised_sets_are_there() -> None:
    assert {"classifier_variants", "assistant_variants", "seeds"} <= set(SETS)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SETS)
def test_a_set_is_possible_in_every_profile_but_for_what_needs_the_book_s(
    name: str, profile: str, tmp_path: Path
) -> None:
    _, runs = load_set(name, project(tmp_path / "project", profile))
    impossible = [run.experiment.name for run in runs if run.params is None]
    needs = [] if profile == "book" else NEEDS_BOOK.get(name, [])
    if profile in ("laptop", "smol"):  # SmolLM2 sees texts of 8,192 tokens
        needs = [run for run in needs if run != "alpaca-52k"]
    if (name, profile) == ("classifier_variants", "laptop"):  # so many of each message need too much memory
        needs = [*needs, "context-length"]
    assert impossible == needs
    assert all(bool(run.problem) == (run.params is None) for run in runs)


@pytest.mark.parametrize("name", SETS)
def test_dvc_writes_the_params_that_were_checked(name: str, tmp_path: Path) -> None:
    root = project(tmp_path / "project", "book")
    for run in load_set(name, root)[1]:
        path = Path(shutil.copy(root / "params.yaml", tmp_path))
        apply_overrides(path, [hydra_override(key, value) for key, value in run.overrides.items()])
        assert load_params(path) == run.params


@pytest.mark.parametrize("name", SETS)
def test_names_are_git_s_and_different_and_short_enough_for_the_table(name: str) -> None:
    experiments, runs = load_set(name, REPOSITORY)
    assert len({run.name for run in runs}) == len(runs)
    assert len({run.experiment.label for run in runs}) == len(experiments.experiments)
    for run in runs:
        subprocess.run(["git", "check-ref-format", f"refs/exps/{run.name}"], check=True)
    assert max(len(one.name) for one in experiments.experiments) <= 16


def test_the_classifier_s_published_accuracies_stand_beside_their_rows() -> None:
    numbered = {int(label.split(":")[0]): values for label, values in published("classifier_variants").items()}
    assert numbered == PUBLISHED


def test_the_assistant_s_published_scores_stand_beside_their_exercises() -> None:
    scores = [values for values in published("assistant_variants").values()]
    assert scores == [(50.32,), (48.87,), (47.73,), (48.16,), (50.23,)]


def test_row_18_has_the_params_of_row_1() -> None:
    _, runs = load_set("classifier_variants", REPOSITORY)
    by_name = {run.experiment.name: run.params for run in runs}
    assert by_name["ignore-index"] == by_name["last-token"]
    different = [params for name, params in by_name.items() if name != "ignore-index" and params is not None]
    assert all(params not in different[:place] for place, params in enumerate(different))


def test_the_fractions_split_alpaca_as_published(tmp_path: Path) -> None:
    _, runs = load_set("assistant_variants", project(tmp_path / "project", "book"))
    (params,) = (run.params.instructions for run in runs if run.params and run.experiment.name == "alpaca-52k")
    train, test = int(52_002 * params.train_fraction), int(52_002 * params.test_fraction)
    assert (train, 52_002 - train - test, test) == (44_201, 2_601, 5_200)


def test_seeds_are_runs_of_one_experiment() -> None:
    experiments, runs = load_set("seeds", REPOSITORY)
    assert [run.name for run in runs] == [f"seeds-default-seed-{seed}" for seed in (123, 1, 2)]
    assert [run.params.seed for run in runs if run.params] == [123, 1, 2]
    assert len(experiments.experiments) == 1


# --- mistakes -----------------------------------------------------------------------------------------------

GOOD = """
description: Mine
metrics:
  test: finetune_classifier.test_accuracy
compared: test
experiments:
- name: one
  label: one
"""


def test_a_set_of_a_user_is_read(tmp_path: Path) -> None:
    experiments, (run,) = load_text(tmp_path / "project", GOOD + "  overrides:\n    seed: 7\n")
    assert (run.name, run.overrides, run.params and run.params.seed) == ("mine-one", {"seed": 7}, 7)
    assert experiments.stages == ["finetune_classifier"]


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    text = """
description: Mine
metrics:
  test: finetune_classifier.test_accuracy
  loss: no_stage.loss
compared: tset
baseline: zero
seeds: [1, 1]
common:
  sms.splitt: bonus
experiments:
- name: one
  label: one
  overrides:
    finetune_classifier.epochs: 0
    finetune_classifier.train_layers: some
    pretrain.seed: 1
    nothing: 1
  published: {train: 1.0}
- name: one
  label: again
  overrides: {seed: 4}
"""
    with pytest.raises(InputError) as caught:
        load_text(tmp_path / "project", text)
    lines = str(caught.value).splitlines()
    assert lines[0] == "experiments/mine.yaml has 12 problems:"
    assert [line.split(", allowed: ")[0].split("; known: ")[0] for line in lines[1:]] == [
        "  - baseline: got zero",
        "  - common: sms.splitt: unknown key; did you mean split?",
        "  - compared: got tset",
        "  - experiments: one: got 2 experiments with this name",
        "  - experiments: one: overrides: finetune_classifier.epochs: got 0",
        "  - experiments: one: overrides: finetune_classifier.train_layers: got 'some'",
        "  - experiments: one: overrides: nothing: unknown key",
        "  - experiments: one: overrides: pretrain.seed: unknown key",
        "  - experiments: one: overrides: seed: the set has seeds already; allowed: one of the two",
        "  - experiments: one: published: got train",
        "  - metrics: loss: got no_stage.loss",
        "  - seeds: got [1, 1]",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("description: Mine", "descripton: Mine"), "descripton: unknown key; did you mean description?"),
        (("description: Mine", "description: 7"), "description: got 7, allowed: a valid string"),
        (("compared: test\n", ""), "compared: missing"),
        (("- name: one", "- nam: one"), "experiments: number 1.nam: unknown key; did you mean name?"),
        (("- name: one", "- name: One/two"), "experiments: One/two.name: got 'One/two', allowed: "),
        (("  label: one", "  label: one\n  published: {test: good}"), "published.test: got 'good', allowed: "),
        (("  label: one", "  label: one\n  overrides: [1]"), "experiments: one.overrides: got [1], allowed: "),
        (("- name: one\n  label: one", "- 7"), "experiments: number 1: got 7, allowed: "),
        (("compared: test", "compared: test\nseeds: [-1]"), "seeds.0: got -1, allowed: "),
        (("compared: test", "compared: test\nname: other"), ": name: unknown key"),
    ],
)
def test_a_mistake_names_its_key(change: tuple[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_text(tmp_path / "project", GOOD.replace(*change))
    assert str(caught.value).startswith("experiments/mine.yaml")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a: [", r"mine\.yaml is not valid YAML: line 1"), ("7", r"^experiments/mine\.yaml holds 7, expected keys")],
)
def test_what_is_no_set_at_all_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=problem):
        load_text(tmp_path / "project", text)


def test_a_wrong_name_lists_the_sets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is named 'sedes', experiments/ has assistant_variants, .*seeds"):
        load_set("sedes", project(tmp_path / "project"))
    with pytest.raises(InputError, match=r"is named '\.\./profiles/sample'"):
        load_set("../profiles/sample", project(tmp_path / "other"))


def test_a_set_with_a_hyphen_is_refused_as_another_set_could_have_its_runs(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    (root / "experiments/a-b.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(InputError, match=r"^experiments/a-b\.yaml: .* no hyphen, .* rename the file to a_b\.yaml$"):
        load_set("a-b", root)
    (root / "experiments/a-b.yaml").rename(root / "experiments/a_b.yaml")
    assert load_set("a_b", root)[1][0].name == "a_b-one"


def test_a_mistake_in_params_yaml_comes_first(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    params = YAML(typ="safe", pure=True).load(root / "params.yaml")
    YAML().dump(overridden(params, {"seed": -1}), root / "params.yaml")
    with pytest.raises(InputError, match=r"^params.yaml has 1 problem:\n  - seed: got -1"):
        load_set("seeds", root)


@pytest.mark.parametrize(
    "value", ["it's", 'a "b"', "a\\b", "a\\'b\\", "a=b, [c]", "124M", 7, 5e-05, True, None, ["a", "b c"]]
)
def test_any_value_reaches_params_yaml_as_it_is(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("section:\n  key: 0\n", encoding="utf-8")
    apply_overrides(path, [hydra_override("section.key", value)])
    assert YAML(typ="safe", pure=True).load(path) == {"section": {"key": value}}
