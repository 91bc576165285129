"""Fine-tunings with other params than the profile's, with the real DVC: topics of unequal size, and dropout."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest
import torch
from project import Project
from test_repro import label_logits_of, read_metrics, stages_run

from scratchlm.checkpoint.folder import load
from scratchlm.classifier.classifier import measure_logits
from scratchlm.sample import topics

LABELS = ["animals", "food", "sport", "weather"]
FINE_TUNINGS = ["finetune_classifier", "finetune_instructions", "tune_preferences"]
CHATTING = ["assistant", "preferred"]


@pytest.mark.slow
def test_a_classifier_of_four_unbalanced_topics(project: Project) -> None:
    project.set_params(
        {
            "sms.source": "sample_topics",
            "sms.balance": False,
            "finetune_classifier.keep": "best",
            "finetune_classifier.batch_size": 16,
            "finetune_classifier.epochs": 2,
            "finetune_classifier.learning_rate": 0.01,
        }
    )
    ran = project.dvc("repro", "finetune_classifier")
    assert stages_run(ran.stdout) == ["prepare_sms", "finetune_classifier"]
    prepared = read_metrics(project, "prepare_sms")
    assert prepared["labels"] == Counter(label for label, _ in topics.messages())
    assert prepared["kept"] == prepared["rows"] == sum(prepared["labels"].values())

    assert json.loads(project.read("models/classifier/classifier.json"))["labels"] == LABELS
    logits, labels = label_logits_of(project, "test")
    assert logits.shape == (prepared["test"], len(LABELS))
    measured = measure_logits(logits, labels)
    confusion = list(csv.DictReader(project.read("data/plots/classifier_confusion.csv").splitlines()))
    assert [row["actual"] for row in confusion] == [LABELS[label] for label in labels]
    assert [row["predicted"] for row in confusion] == [LABELS[label] for label in measured.predictions]
    assert len({row["actual"] for row in confusion}) == len(LABELS)
    assert len({row["predicted"] for row in confusion}) > 1  # or exchanged names would not show

    metrics = read_metrics(project, "finetune_classifier")
    assert metrics["prompted_test_accuracy"] is None
    assert "test accuracy of the prompted base" in ran.stdout
    assert metrics["test_accuracy"] == pytest.approx(measured.accuracy, abs=1e-4)
    assert metrics["test_loss"] == pytest.approx(measured.loss, abs=1e-4)
    assert metrics["test_accuracy"] > metrics["majority_test_accuracy"]
    assert prepared["validation"] % 16 == 0  # else the mean of the batches' means is another
    assert metrics["validation_loss"] == pytest.approx(metrics["best_validation_loss"], abs=2e-4)


@pytest.mark.slow
def test_dropout_changes_all_fine_tunings(project: Project) -> None:
    before = {stage: read_metrics(project, stage) for stage in FINE_TUNINGS}
    project.set_params({f"{stage}.drop_rate": 0.5 for stage in FINE_TUNINGS})
    assert sorted(stages_run(project.dvc("repro", *FINE_TUNINGS).stdout)) == FINE_TUNINGS
    for stage in FINE_TUNINGS:
        after = read_metrics(project, stage)
        assert after["initial_train_loss"] == before[stage]["initial_train_loss"]  # measured without dropout
        assert after["train_loss"] != before[stage]["train_loss"]


@pytest.mark.slow
def test_lora_in_all_fine_tunings_leaves_plain_model_folders(project: Project) -> None:
    before = {stage: read_metrics(project, stage) for stage in FINE_TUNINGS}
    project.set_params({f"{stage}.train_layers": "lora" for stage in FINE_TUNINGS})
    ran = project.dvc("repro", *FINE_TUNINGS)
    assert sorted(stages_run(ran.stdout)) == FINE_TUNINGS
    for stage in FINE_TUNINGS:
        after = read_metrics(project, stage)
        assert after["initial_train_loss"] == before[stage]["initial_train_loss"]
        assert after["train_loss"] < after["initial_train_loss"]
        assert f"training {after['trained_parameters']:,} of " in ran.stdout
        assert f"training {before[stage]['trained_parameters']:,} of " not in ran.stdout
    logits, labels = label_logits_of(project, "test")  # of the saved, merged model
    assert measure_logits(logits, labels).loss == pytest.approx(
        read_metrics(project, "finetune_classifier")["test_loss"], abs=1e-4
    )
    heads = {path: tied(project, f"models/{path}") for path in ("bases/pretrained", "classifier", *CHATTING)}
    assert heads == {"bases/pretrained": True, "classifier": True, "assistant": False, "preferred": False}
    assistant, preferred = (load(project.folder / "models" / path)[0].state_dict() for path in CHATTING)
    assert assistant.keys() == preferred.keys()
    assert not torch.equal(assistant["lm_head.weight"], preferred["lm_head.weight"])
    project.dvc("repro", "generate_responses", "benchmark_models")  # read both like any other


def tied(project: Project, folder: str) -> bool:
    return bool(json.loads(project.read(f"{folder}/config.json"))["tie_word_embeddings"])
