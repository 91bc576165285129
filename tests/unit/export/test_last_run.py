"""What dvc.lock says of a model folder: only of one that is as the run left it, and only what was measured on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from runs import METRICS, write_lock

from scratchlm.errors import InputError
from scratchlm.export.last_run import LastRun, find_run, tree_md5


@pytest.fixture
def root(assistant: Path) -> Path:
    root = assistant.parents[1]
    for name in ("pretrained", "bases/pretrained", "preferred"):
        folder = root / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(name)
    write_lock(root)
    return root


def found(root: Path, name: str) -> LastRun:
    run = find_run(root / "models" / name)
    assert run is not None
    return run


def test_the_hash_of_a_folder_is_dvcs(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("two\n")
    (tmp_path / "a.txt").write_text("one\n")
    # What `dvc add` of such a folder wrote, DVC 3.67.
    assert tree_md5(tmp_path) == "4d766c5a6be8460aee3b3f4d33376864.dir"


def test_the_assistants_run_has_its_base_params_data_and_figures(root: Path) -> None:
    run = found(root, "assistant")
    assert (run.stage, run.base, run.variant) == ("finetune_instructions", "pretrained", "assistant")
    assert run.params == {
        "corpus.source": "sample",
        "finetune_instructions.base": "pretrained",
        "finetune_instructions.epochs": 6,
        "instructions.source": "sample",
        "pretrain.epochs": 5,
        "pretrain.start": "random",
        "seed": 123,
    }
    assert [(one.path, one.n_files) for one in run.data] == [("data/corpus", 369), ("data/instructions", 369)]
    assert run.metrics == {
        **METRICS,
        "download_corpus": {},
        "download_weights": {},
        "prepare_instructions": {},
    }


def test_the_preferred_model_has_the_params_of_its_tuning_too(root: Path) -> None:
    run = found(root, "preferred")
    assert (run.base, run.variant) == ("pretrained", "preferred")
    assert run.params["tune_preferences.beta"] == 0.02 and run.params["finetune_instructions.epochs"] == 6


def test_a_base_is_one_of_the_folders_of_an_out(root: Path) -> None:
    run = found(root, "bases/pretrained")
    assert (run.stage, run.base, run.variant) == ("download_weights", "pretrained", "base")
    assert "finetune_instructions.epochs" not in run.params and run.params["pretrain.epochs"] == 5


def test_the_pretrained_model_has_no_base(root: Path) -> None:
    run = found(root, "pretrained")
    assert (run.stage, run.base, run.variant) == ("pretrain", None, "base")


def test_behind_a_downloaded_base_nothing_is_told_of_our_own(root: Path) -> None:
    write_lock(root, {"finetune_instructions": {"finetune_instructions": {"base": "smollm2-135M"}, "seed": 1}})
    run = found(root, "assistant")
    assert run.base == "smollm2-135M"
    assert set(run.params) == {"finetune_instructions.base", "instructions.source", "seed"}
    assert [one.path for one in run.data] == ["data/instructions"]


def test_what_was_measured_with_another_base_is_not_told_of_this_one(root: Path) -> None:
    write_lock(root, {"judge_responses": {"finetune_instructions.base": "smollm2-135M"}})
    for name in ("pretrained", "bases/pretrained"):
        assert "benchmark_models" in found(root, name).metrics and "judge_responses" not in found(root, name).metrics


def test_a_model_whose_assistant_was_trained_again_names_no_base(root: Path) -> None:
    """As after `dvc repro finetune_instructions` from another base: the preferred model is still of the one before."""
    lock = (root / "dvc.lock").read_text()
    assistant = tree_md5(root / "models" / "assistant")
    before, rest = lock.split("  tune_preferences:")
    (root / "dvc.lock").write_text(before.replace(str(assistant), f"{'f' * 32}.dir") + "  tune_preferences:" + rest)
    run = found(root, "preferred")
    assert run.base is None and run.params == {"tune_preferences.beta": 0.02}


def test_a_changed_folder_has_no_run(root: Path) -> None:
    (root / "models" / "assistant" / "notes.txt").write_text("mine")
    assert find_run(root / "models" / "assistant") is None


def test_a_folder_elsewhere_has_no_run(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (root / "models" / "assistant").rename(elsewhere)
    assert find_run(elsewhere) is None
    assert find_run(root / "inputs" / "models" / "mine") is None


def test_without_a_lock_there_is_no_run(root: Path) -> None:
    (root / "dvc.lock").unlink()
    assert find_run(root / "models" / "assistant") is None


def test_figures_that_were_measured_on_another_model_are_left_out(root: Path) -> None:
    """As after `dvc repro finetune_instructions`, before the judge has seen the new model."""
    lock = (root / "dvc.lock").read_text()
    old = tree_md5(root / "models" / "assistant")
    (root / "models" / "assistant" / "assistant.json").write_text('{"prompt_style": "alpaca"}')
    new = tree_md5(root / "models" / "assistant")
    trained, judged = lock.split("  tune_preferences:")
    (root / "dvc.lock").write_text(trained.replace(str(old), str(new)) + "  tune_preferences:" + judged)
    run = found(root, "assistant")
    assert "finetune_instructions" in run.metrics and "pretrain" in run.metrics
    assert not run.metrics.keys() & {"judge_responses", "benchmark_models", "tune_preferences"}


def test_params_of_an_earlier_stage_that_has_run_again_are_left_out(root: Path) -> None:
    """As after `dvc repro pretrain`: the assistant is still of the model before."""
    lock = (root / "dvc.lock").read_text()
    pretrained = tree_md5(root / "models" / "pretrained")
    before, rest = lock.split("  download_weights:")
    (root / "dvc.lock").write_text(before.replace(str(pretrained), f"{'f' * 32}.dir") + "  download_weights:" + rest)
    run = found(root, "assistant")
    assert "pretrain.epochs" not in run.params and "pretrain" not in run.metrics
    assert run.params["finetune_instructions.epochs"] == 6


def test_metrics_that_were_edited_are_left_out(root: Path) -> None:
    (root / "metrics" / "judge_responses.json").write_text(json.dumps({"judge": "me"}))
    assert "judge_responses" not in found(root, "assistant").metrics


def test_a_lock_with_a_merge_conflict_is_told(root: Path) -> None:
    (root / "dvc.lock").write_text("schema: '2.0'\n<<<<<<< HEAD\nstages: {}\n")
    with pytest.raises(InputError, match=r"dvc\.lock is not valid YAML.*git checkout HEAD dvc\.lock"):
        find_run(root / "models" / "assistant")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "the file"),
        ("[a]", "the file"),
        ("stages:", "stages"),
        ("stages: {pretrain: }", "stages.pretrain"),
        ("stages: {pretrain: {outs: models}}", "stages.pretrain.outs"),
        ("stages: {pretrain: {outs: [models]}}", "stages.pretrain.outs.0"),
        ("stages: {pretrain: {outs: [{path: 1, md5: a, size: 1}]}}", "stages.pretrain.outs.0.path"),
        ("stages: {pretrain: {outs: [{path: models, size: 1}]}}", "stages.pretrain.outs.0.md5"),
        ("stages: {pretrain: {deps: [{path: data, md5: a, size: x}]}}", "stages.pretrain.deps.0.size"),
        ("stages: {pretrain: {params: [a]}}", "stages.pretrain.params"),
        ("stages: {pretrain: {params: {params.yaml: }}}", "stages.pretrain.params.params.yaml"),
    ],
)
def test_a_damaged_lock_is_told(root: Path, content: str, place: str) -> None:
    (root / "dvc.lock").write_text(content)
    with pytest.raises(InputError, match=rf"dvc\.lock is damaged \({re.escape(place)}: .*git checkout HEAD dvc\.lock"):
        find_run(root / "models" / "assistant")


def test_params_are_those_of_the_run_and_not_of_the_file(root: Path) -> None:
    (root / "params.yaml").write_text("finetune_instructions: {epochs: 99}")
    assert found(root, "assistant").params["finetune_instructions.epochs"] == 6
