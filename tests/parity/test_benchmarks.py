"""The benchmarks of the fine-tunings: with a small model, all programs must give the same figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import classifier
import finetuning
import pytest

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.model.config import GPTConfig

pytestmark = pytest.mark.slow
pytest.importorskip("llms_from_scratch", reason="llms-from-scratch is not installed")

MESSAGES = 44  # of the training split, of which the book's loader drops 4


@pytest.fixture(scope="module")
def config() -> GPTConfig:
    return replace(gpt2_config("124M"), emb_dim=32, n_heads=2, n_layers=3)


def test_the_classifiers_fine_tuning_equals_the_published_one(mirror: Path, config: GPTConfig, tmp_path: Path) -> None:
    classifier.prepare(tmp_path, config, 2, MESSAGES)
    ours, original = (classifier.in_a_process(run, tmp_path) for run in ("ours", "original"))
    assert classifier.differences(ours, original, MESSAGES) == []
    assert len(ours["losses"]) == 1 and len(ours["accuracies"]) == 2
    for key in ("losses", "accuracies"):
        wrong = {**ours, key: [[value + 1 for value in row] for row in ours[key]]}
        assert len(classifier.differences(wrong, original, MESSAGES)) == 1
    wrong = {**ours, "after": [accuracy + 20 for accuracy in ours["after"]]}
    assert len(classifier.differences(wrong, original, MESSAGES)) == 2


def test_the_steps_of_all_programs_have_the_same_losses(mirror: Path, config: GPTConfig, tmp_path: Path) -> None:
    finetuning.prepare(tmp_path, config)
    sides = list(product(finetuning.PROGRAMS, finetuning.TASKS, finetuning.LAYERS))
    found = {side: finetuning.measure(tmp_path, *side, n_timed=1) for side in sides}
    assert finetuning.unequal_losses(found) == []
    found["the book's code", "classifier", "lora"]["losses"][-1] += 0.01
    assert len(finetuning.unequal_losses(found)) == 1
